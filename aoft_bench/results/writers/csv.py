"""Tables as CSV: long (one line an entry, full precision) and wide (one line a row, as printed)."""

import csv
import io
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from aoft_bench.results.table import MISSING, Entry, Table
from aoft_bench.utils.text import csv_cell


def to_long_csv(tables: Sequence[Table]) -> str:
    """One line an entry that was measured, or should have been: what its table shares, block, row, column, mean, sample
    standard deviation (empty for one value), n, seeds, mark."""
    lines = []
    for table, line, (first, *entries) in _rows(tables):
        for entry, column in zip(entries, table.columns[1:], strict=True):
            if entry.values or entry == MISSING:
                values = entry.values
                lines.append(
                    {
                        **line,
                        "row": table.codes.get(first.text, first.text),
                        "column": column.name,
                        "mean": f"{statistics.fmean(values):.6g}" if values else "",
                        "std": f"{statistics.stdev(values):.6g}" if len(values) > 1 else "",
                        "n": len(values),
                        "seeds": " ".join(map(str, entry.seeds)),
                        "mark": entry.mark,
                    }
                )
    return csv_of(lines)


def to_wide_csv(tables: Sequence[Table]) -> str:
    """One line a row, with every column of every table; a spread stands in a column of its own, `<column> std`."""
    lines = []
    for table, line, entries in _rows(tables):
        for entry, column in zip(entries, table.columns, strict=True):
            note = f" [{entry.note}]" if entry.note else ""
            text = table.codes.get(entry.text, entry.text) if column.text else entry.text
            line[column.name] = (entry.without_separators or text) + note
            if entry.spread:
                line[f"{column.name} std"] = entry.spread
        lines.append(line)
    return csv_of(lines)


def _rows(tables: Sequence[Table]) -> Iterator[tuple[Table, dict[str, Any], Sequence[Entry]]]:
    """(table, beginning of the line, entries) of every row."""
    for table in tables:
        for block in table.blocks:
            for entries in block.rows:
                yield (
                    table,
                    {"table": table.title, **table.shared, "block": table.codes.get(block.heading, block.heading)},
                    entries,
                )


def csv_of(lines: Sequence[dict[str, Any]]) -> str:
    """CSV with the columns of all lines; `<column> std` follows its column. No cell is a formula of a spreadsheet."""
    lines = [{csv_cell(name): csv_cell(value) for name, value in line.items()} for line in lines]
    names = dict.fromkeys(name for line in lines for name in line)
    pairs = ((name, f"{name} std") for name in names if not name.endswith(" std"))
    fields = [name for pair in pairs for name in pair if name in names]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fields, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()
