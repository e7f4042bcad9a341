"""Ticks of logarithmic axes in plain numbers: 1, 2 and 5 of each decade where there are few decades."""

import math

from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter


def log_ticks(axis: Axis, low: float, high: float, *, zero: bool = False, minor: bool = True) -> None:
    """Set the ticks of a logarithmic axis from `low` to `high`, both positive; zero: and one at 0 (symlog);
    minor: and unlabelled ones between."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    apart = math.log10(high / low)
    digits = (1,) if apart > 1.7 else (1, 2, 5) if apart > 0.6 else (1, 1.5, 2, 3, 4, 5, 6, 8)
    labelled = [t for t in _multiples(decades, digits) if low <= t <= high]
    axis.set_major_locator(FixedLocator([0.0] * zero + labelled))
    between = [t for t in _multiples(decades, range(1, 10)) if low <= t <= high and t not in labelled]
    axis.set_minor_locator(FixedLocator(between if minor else []))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_formatter(NullFormatter())


def short_number(value: float) -> str:
    """12000 -> 12k, 5.5e6 -> 5.5M, 0.001 -> 0.001."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _multiples(decades: range, digits: "range | tuple[float, ...]") -> list[float]:
    # divided for small powers, so that 5 * 10**-3 is the 0.005 that it prints
    return [digit * 10**k if k >= 0 else digit / 10**-k for k in decades for digit in digits]
