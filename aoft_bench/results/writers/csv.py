"""Tables as CSV: long (one line a cell, full precision) and wide (one line a row, as printed)."""

import csv
import io
import statistics
from collections.abc import Sequence
from typing import Any

from aoft_bench.results.table import MISSING, Cell, Grid


def to_long_csv(grids: Sequence[Grid]) -> str:
    """One line a cell that was measured, or should have been: what its table shares, block, row, column, mean, sample
    standard deviation (empty for one value), n, seeds, mark."""
    lines = []
    for grid in grids:
        for block in grid.blocks:
            for row in block.rows:
                found = zip(row[1:], grid.columns[1:], strict=True)
                measured = [(cell, column) for cell, column in found if cell.values or cell.text == MISSING]
                for cell, column in measured:
                    told = {"table": grid.title, **grid.facts, "block": block.heading, "row": row[0].text}
                    lines.append(told | {"column": column.name} | _numbers(cell))
    return _written(lines)


def to_wide_csv(grids: Sequence[Grid]) -> str:
    """One line a row, with every column of every table; a spread stands in a column of its own, `<column> std`."""
    lines = []
    for grid in grids:
        for block in grid.blocks:
            for row in block.rows:
                told = {"table": grid.title, **grid.facts, "block": block.heading}
                for cell, column in zip(row, grid.columns, strict=True):
                    told[column.name] = _plain(cell.text) + (f" [{cell.note}]" if cell.note else "")
                    if cell.spread:
                        told[f"{column.name} std"] = cell.spread
                lines.append(told)
    return _written(lines)


def _plain(text: str) -> str:
    """A number without thousands separators; other text as it is."""
    digits = text.replace(",", "")
    return digits if digits.isdigit() else text


def _numbers(cell: Cell) -> dict[str, Any]:
    values = cell.values
    return {
        "mean": f"{statistics.fmean(values):.6g}" if values else "",
        "std": f"{statistics.stdev(values):.6g}" if len(values) > 1 else "",
        "n": len(values),
        "seeds": " ".join(map(str, cell.seeds)),
        "mark": cell.mark,
    }


def _written(lines: Sequence[dict[str, Any]]) -> str:
    names: dict[str, None] = {}
    for line in lines:
        names |= dict.fromkeys(line)
    ordered = [name for name in names if not name.endswith(" std")]
    spreads = {name for name in names if name.endswith(" std")}
    fields = [field for name in ordered for field in (name, f"{name} std") if field == name or field in spreads]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fields, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()
