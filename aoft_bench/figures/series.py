"""The colour, marker, filling and line of a method, the same in every figure."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D

from aoft_bench.results.rows import Row
from aoft_bench.results.settings import Comparison

# one colour of Okabe and Ito (2008) a family, one marker a method within it; the first of each family differ in both
FAMILIES: dict[str, dict[str, str]] = {
    "#D55E00": {
        "aoft": "o",
        "aoft_without_lambda": "p",
        "aoft_adapter": "h",
        "aoft_vpt": "*",
        "aoft_orthogonal": "<",
        "aoft_frozen_q": ">",
        "aoft_lambda_only": "d",
        "aoft_zero": "s",
        "aoft_released": "D",
        "aoft_adapter_without_lambda": "P",
    },
    "#0072B2": {
        "lora": "s",
        "lora_matched": "D",
        "fact_tt": "v",
        "fact_tk": "^",
        "bi_lora": "<",
        "hta": ">",
        "peft_dora": "X",
    },
    "#009E73": {
        "adapter": "^",
        "adapter_matched": "v",
        "adapter_houlsby": "<",
        "adapter_pfeiffer": ">",
        "adapter_plus": "P",
        "adaptformer": "D",
        "convpass": "X",
        "repadapter": "s",
    },
    "#000000": {"linear": "X", "full": "P", "partial": "^", "bitfit": "v", "norm": "D"},
    "#CC79A7": {"vpt_shallow": "v", "vpt_deep": "*"},
    "#E69F00": {"ssf": "D", "arc": "p", "rlrr": "h"},
}
OTHERS = "#56B4E9"  # of methods that no family names, a user's own among them
MARKERS = ("o", "s", "^", "X", "P", "D", "v", "p", "h", "<", ">", "*", "d")
FILLS = ("full", "none", "left", "right", "bottom", "top")  # variants of one method
LINES: tuple[Any, ...] = ("-", (0, (4, 1.2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)))

# drawn in colour where there are too many rows to tell apart, in this order
FEATURED = ("aoft", "aoft_without_lambda", "aoft_adapter", "lora", "lora_matched", "adapter", "linear", "full")


@dataclass(frozen=True)
class SeriesStyle:
    """How a row is drawn, in every figure."""

    color: str
    marker: str
    fill: Any
    line: Any

    def marks(self) -> dict[str, Any]:
        """Keywords of `Axes.plot` and `Axes.errorbar` for points."""
        return {"color": self.color, "marker": self.marker, "fillstyle": self.fill, "markerfacecoloralt": "white"}

    def curve(self) -> dict[str, Any]:
        """The same for a curve."""
        return {**self.marks(), "linestyle": self.line}


Styles = dict[str, SeriesStyle]  # by label of a row, or by name of a method


def method_styles(methods: Iterable[str]) -> Styles:
    """The style of each method: by family, or by a hash of its name where no family has it.

    Methods without a family share a marker only when all are taken. Pass all methods of a call at once, so that each
    has the same marker in all figures.
    """
    found: Styles = {}
    taken: set[int] = set()
    for name in sorted(set(methods)):
        known = [(color, members[name]) for color, members in FAMILIES.items() if name in members]
        if known:
            ((color, marker),) = known
        else:
            index = int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(MARKERS)
            while index in taken and len(taken) < len(MARKERS):
                index = (index + 1) % len(MARKERS)
            taken.add(index)
            color, marker = OTHERS, MARKERS[index]
        found[name] = SeriesStyle(color, marker, FILLS[0], LINES[MARKERS.index(marker) % len(LINES)])
    return found


def row_styles(comparison: Comparison, methods: Styles) -> Styles:
    """The style of each row of a comparison by its label; variants of a method differ in filling and line."""
    found: Styles = {}
    for method in dict.fromkeys(row.method for row in comparison.rows):
        base = methods[method]
        labels = sorted(row.label for row in comparison.rows if row.method == method)
        start = LINES.index(base.line)
        for i, label in enumerate(labels):
            found[label] = SeriesStyle(base.color, base.marker, FILLS[i % len(FILLS)], LINES[(start + i) % len(LINES)])
    return found


def legend_marks(marks: Mapping[str, Line2D], styles: Styles) -> list[Line2D]:
    """Entries of a legend for the marks of a plot: one colour after another, methods without a family last."""
    colors = [*FAMILIES, OTHERS]
    ordered = sorted(marks, key=lambda label: colors.index(styles[label].color))
    return [Line2D([], [], ls="", label=label, **styles[label].marks()) for label in ordered]


def featured(rows: list[Row], limit: int = len(FEATURED)) -> list[Row]:
    """All rows, or the `limit` of them that come first in `FEATURED`, in the order of `rows`."""
    if len(rows) <= limit:
        return rows
    rank = {name: i for i, name in enumerate(FEATURED)}
    first = sorted(rows, key=lambda row: rank.get(row.method, len(rank)))[:limit]
    return [row for row in rows if row in first]
