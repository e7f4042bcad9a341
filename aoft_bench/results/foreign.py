"""Numbers of others, from a CSV, ranked with our rows by the same statistics and marked as not ours.

A line is one run: method, task, seed, top1 (in %), source. Nothing is known of its backbone, images or recipe, so these
rows stand in tables of their own and never in those of the records.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aoft_bench.data.tasks import TASKS
from aoft_bench.results.accuracy_table import accuracy_columns
from aoft_bench.results.rows import Row
from aoft_bench.results.settings import Comparison
from aoft_bench.results.statistics_table import statistics_tables
from aoft_bench.results.table import Table, make_block
from aoft_bench.utils.errors import UserError, unknown_text
from aoft_bench.utils.files import read_regular
from aoft_bench.utils.text import is_one_line, one_line, shown

COLUMNS = ("method", "task", "seed", "top1", "source")
_LARGEST = 2**24  # bytes


@dataclass(frozen=True)
class ForeignRow(Row):
    """A row without records. seeds_of: dataset -> its seeds; source: who says so."""

    seeds_of: dict[str, list[int]] = field(default_factory=dict)
    source: str = ""

    def seeds(self, dataset: str) -> list[int]:
        return self.seeds_of.get(dataset, [])

    @property
    def family(self) -> str:
        return f"not ours:{self.method}"


def read_foreign(path: Path) -> list[ForeignRow]:
    """The rows of a CSV. Raises `UserError`, which names the line, for the first thing that is wrong in it."""
    name = one_line(str(path))
    try:
        text = read_regular(path, _LARGEST).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise UserError(f"{name} has no column {missing[0]}; its first line names {', '.join(COLUMNS)}")
        lines = [(reader.reader.line_num, line) for line in reader]  # blank lines count
    except OSError as error:
        raise UserError(f"foreign={name} cannot be read: {error.strerror or error}; give a CSV file") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"foreign={name} is no CSV in UTF-8: {one_line(str(error))}") from None
    found: dict[tuple[str, str], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for number, line in lines:
        try:
            method, task, seed, top1, source = _values(line)
            if seed in found[method, source][task]:
                raise ValueError(f"{task} of {method} with seed {seed} stands there twice; keep one")
            found[method, source][task][seed] = top1
        except ValueError as error:
            raise UserError(f"{name}, line {number}: {error}") from None
    if not found:
        raise UserError(f"{name} has no numbers: give lines of {', '.join(COLUMNS)}")
    sources = defaultdict(list)
    for method, source in found:
        sources[method].append(source)
    return [
        ForeignRow(
            label=f"{method} (not ours{f', {source}' if len(sources[method]) > 1 else ''})",
            code=method,
            method=method,
            records=[],
            cells={task: list(values.values()) for task, values in cells.items()},
            best_epoch={},
            trained=0,
            head=0,
            seeds_of={task: list(values) for task, values in cells.items()},
            source=source,
        )
        for (method, source), cells in found.items()
    ]


def foreign_tables(comparisons: Sequence[Comparison], rows: Sequence[ForeignRow], file: str) -> list[Table]:
    """For each setting scored on test that has a task of theirs: accuracy and statistics of our rows and theirs.

    Theirs are cut to the tasks that we have. Raises `UserError` where no setting has a task of theirs.
    """
    found = [table for one in comparisons for table in _tables(one, rows, file)]
    if not found:
        theirs = ", ".join(sorted({task for row in rows for task in row.cells}))
        raise UserError(
            f"no record scored on test has a task of {file} ({theirs}), so there is nothing to rank it with; run one"
        )
    return found


def _tables(comparison: Comparison, rows: Sequence[ForeignRow], file: str) -> list[Table]:
    ours = comparison.ranked()
    tasks = {task for row in ours.rows for task in row.cells}
    theirs = [
        replace(row, cells={task: values for task, values in row.cells.items() if task in tasks})
        for row in rows
        if tasks & row.cells.keys()
    ]
    if not theirs or comparison.setting.split != "test":
        return []
    numbers = {source: number for number, source in enumerate(dict.fromkeys(row.source for row in theirs), 1)}
    together = replace(
        ours,
        title=f"With numbers that are not ours: {ours.title}",
        caption=f"{ours.caption}. Rows that are not ours are as {file} gives them; their backbone, images and recipe "
        "are not known to be those of our rows",
        rows=[*(replace(row, broken=()) for row in ours.rows), *theirs],
    )
    columns = [
        column
        for column in accuracy_columns(together.datasets, together.layout, together.unofficial, titles=together.titles)
        if column.text or column.ranked
    ]
    block = make_block(columns, together.rows, ranked=True)
    first = len(ours.rows)
    marked = [
        *block.rows[:first],
        *(
            [replace(entries[0], note=str(numbers[row.source])), *entries[1:]]
            for row, entries in zip(theirs, block.rows[first:], strict=True)
        ),
    ]
    notes = [*ours.notes, "Not ours: " + "; ".join(f"[{number}] {source}" for source, number in numbers.items()) + "."]
    accuracy = Table(
        together.title,
        together.caption,
        columns,
        [replace(block, rows=marked)],
        notes,
        together.setting.as_columns(),
        grouped=together.layout == "vtab1k",
    )
    return [replace(table, codes=together.codes) for table in (accuracy, *statistics_tables(together))]


def _values(line: dict[str, str]) -> tuple[str, str, int, float, str]:
    """The values of a line. Raises `ValueError` for one that is missing or out of range."""
    if None in line or None in line.values():
        raise ValueError("it has more or fewer values than there are columns")
    method, task, seed, top1, source = (line[name].strip() for name in COLUMNS)
    for name, value in (("method", method), ("source", source)):
        if not value or len(value) > 200 or not is_one_line(value):
            raise ValueError(f"{name} is {shown(value)}: give a text of one line, at most 200 letters")
    if task not in TASKS:
        raise ValueError(unknown_text("task", task, TASKS))
    if not (seed.isascii() and seed.isdigit() and len(seed) < 10):
        raise ValueError(f"seed is {shown(seed)}, not a whole number from 0")
    try:
        number = float(top1)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise ValueError(f"top1 is {shown(top1)}, not a number from 0 to 100 (in %)")
    return method, task, int(seed), number, source
