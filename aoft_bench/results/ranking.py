"""Numbers as they are printed, and which printed number is the best and the second."""

import statistics
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

Mark = Literal["", "best", "second"]


def rounded(value: float, digits: int = 1) -> str:
    """A number with so many decimals, halves away from zero: 82.25 is 82.3 (Python's format would say 82.2)."""
    exact = Decimal(f"{value:.9f}")  # 9 decimals undo what binary arithmetic adds to a mean
    found = exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return str(found if found else abs(found))  # no -0.0


def printed(value: float) -> float:
    """The number that a reader of a table sees: `value` to one decimal."""
    return float(rounded(value))


def printed_mean(values: Sequence[float]) -> float:
    """The mean of some values as the number that is printed."""
    return printed(statistics.fmean(values))


def spread(values: Sequence[float]) -> str:
    """Sample standard deviation as it is printed; empty for a single value."""
    return rounded(statistics.stdev(values)) if len(values) > 1 else ""


def marks(values: Sequence[float | None]) -> list[Mark]:
    """best and second of a column of means; higher is better, None takes no part.

    Ranked as printed: 72.34 and 72.30 both print 72.3, so both are best. `second` is the next lower printed number.
    With fewer than two numbers there is nothing to compare and nothing is marked.
    """
    shown = [None if value is None else printed(value) for value in values]
    numbers = [value for value in shown if value is not None]
    levels = sorted(set(numbers), reverse=True)[:2] if len(numbers) > 1 else []
    names: dict[float, Mark] = dict(zip(levels, ("best", "second"), strict=False))
    return ["" if value is None else names.get(value, "") for value in shown]


def positions(values: Sequence[float | None]) -> list[float | None]:
    """Where each printed number lies between the lowest (0) and the highest (1); None where all are equal."""
    shown = [None if value is None else printed(value) for value in values]
    numbers = [value for value in shown if value is not None]
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 0.0)
    return [None if value is None or high == low else round((value - low) / (high - low), 3) for value in shown]
