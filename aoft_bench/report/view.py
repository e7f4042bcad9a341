"""What the page shows, made from tables: settings with their lines and cells, as text and sort keys."""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from aoft_bench.data.tasks import TASKS
from aoft_bench.results.ranking import Mark, marks, rounded, spread
from aoft_bench.results.rows import Record, Row, group_mean, means
from aoft_bench.results.settings import Table, build_tables, triple

# what a number depends on beside the method: the chips of the page, in this order
FACETS: dict[str, Callable[[Record], str]] = {
    "protocol": lambda r: r["protocol"]["name"],
    "suite": lambda r: TASKS[r["dataset"]].suite,
    "backbone": lambda r: r["backbone"],
    "image size": lambda r: f"{r['config']['backbone']['img_size']} px",
    "epochs": lambda r: str(r["config"]["recipe"]["epochs"]),
    "normalisation": lambda r: f"mean {triple(r['data']['mean'])}, std {triple(r['data']['std'])}",
    "data": lambda r: "official" if r["data"]["official"] else "not official",
    "precision": lambda r: r["precision"],
}
WIDE = 8  # datasets; with more, their names stand upright


@dataclass(frozen=True)
class Cell:
    """One number of a line. order: what it is sorted by, None where it is missing; mark: best, second or nothing,
    after rounding, ties shared; place: where it lies between the lowest (0) and highest (1) of its column; records:
    places in the page's list of records."""

    column: str
    text: str
    spread: str
    order: float | None
    records: list[int]
    mark: Mark = ""
    place: float | None = None


@dataclass(frozen=True)
class Line:
    """A method variant in one setting. facets: name -> values of its records; search: what the filter looks into."""

    label: str
    trained: float
    with_head: float
    cells: list[Cell]
    facets: dict[str, list[str]]
    search: str


@dataclass(frozen=True)
class Setting:
    """One table. anchor: its id, from what it is and not from its place; groups: (name, number of columns) above the
    columns, empty where there is one group."""

    anchor: str
    title: str
    caption: str
    badges: list[tuple[str, str]]
    groups: list[tuple[str, int]]
    columns: list[str]
    lines: list[Line]
    notes: list[str]
    upright: bool


def settings(records: list[Record]) -> list[Setting]:
    """All settings of `records`; cells name records by their place in that list."""
    places = {id(record): i for i, record in enumerate(records)}
    return [_setting(table, places) for table in build_tables(records)]


def chips(shown: list[Setting]) -> dict[str, list[tuple[str, int]]]:
    """Facet -> (value, number of lines that have it), in natural order of the values."""
    found: dict[str, dict[str, int]] = {name: {} for name in FACETS}
    for line in (line for setting in shown for line in setting.lines):
        for name, values in line.facets.items():
            for value in values:
                found[name][value] = found[name].get(value, 0) + 1
    return {name: sorted(counts.items(), key=lambda pair: _natural(pair[0])) for name, counts in found.items()}


def _setting(table: Table, places: dict[int, int]) -> Setting:
    lines = [_line(table, row, places) for row in table.rows]
    columns = [name + ("*" if name in table.unofficial else "") for name in table.datasets]
    badges = [(name, value) for name, values in _facets(table.records).items() for value in values]
    anchor = hashlib.sha256(repr(table.setting).encode()).hexdigest()[:8]
    groups = _groups(table.datasets)
    return Setting(
        anchor=f"setting-{anchor}",
        title=table.title,
        caption=table.caption,
        badges=badges,
        groups=groups if len(groups) > 1 else [],
        columns=columns + list(_means(table, table.rows[0])),
        lines=_marked(lines),
        notes=table.notes,
        upright=len(table.datasets) > WIDE,
    )


def _groups(datasets: list[str]) -> list[tuple[str, int]]:
    """(group, number of its datasets); they are in order of the table of tasks, so a group's columns are neighbours."""
    return list(Counter(TASKS[name].group for name in datasets).items())


def _line(table: Table, row: Row, places: dict[int, int]) -> Line:
    everything = [places[id(record)] for record in row.records]
    cells = [_dataset_cell(name, row, places) for name in table.datasets]
    cells += [_mean_cell(name, value, everything) for name, value in _means(table, row).items()]
    facets = _facets(row.records)
    told = dict.fromkeys(word for record in row.records for word in [*_words(record), record["hash"]])
    values = [value for some in facets.values() for value in some]
    search = " ".join([row.label, row.method, table.title, *row.cells, *values, *told])
    return Line(row.label, row.trained, row.trained + row.head, cells, facets, search)


def _means(table: Table, row: Row) -> dict[str, float | None]:
    """The means of a row by their columns' names: of each group in a benchmark's layout, flat, over the groups."""
    if len(table.datasets) < 2:
        return {}
    groups = [name for name, _ in _groups(table.datasets)]
    flat, grouped = means(row, table.datasets)
    if len(groups) < 2:
        return {"mean": flat}
    each = {f"mean {name}": group_mean(row, table.datasets, name) for name in groups} if table.layout != "plain" else {}
    return {**each, "mean": flat, "mean of groups": grouped}


def _dataset_cell(name: str, row: Row, places: dict[int, int]) -> Cell:
    values, best = row.cells.get(name), row.best_epoch.get(name)
    if not values:
        return Cell(name, "missing", "", None, [])
    about = [f"± {spread(values)}"] if len(values) > 1 else []
    about += [f"[best test epoch {rounded(statistics.fmean(best))}]"] if best else []
    mean = statistics.fmean(values)
    records = [places[id(record)] for record in row.records if record["dataset"] == name]
    return Cell(name, rounded(mean), " ".join(about), mean, records)


def _mean_cell(name: str, value: float | None, records: list[int]) -> Cell:
    return Cell(name, "missing", "", None, []) if value is None else Cell(name, rounded(value), "", value, records)


def _marked(lines: list[Line]) -> list[Line]:
    """The same lines with best and second of each column marked, by what is printed, and each cell's place."""
    columns = [_marked_column([line.cells[i] for line in lines]) for i in range(len(lines[0].cells))]
    return [replace(line, cells=[column[i] for column in columns]) for i, line in enumerate(lines)]


def _marked_column(cells: list[Cell]) -> list[Cell]:
    printed = [float(cell.text) for cell in cells if cell.order is not None]
    low, high = (min(printed), max(printed)) if printed else (0.0, 0.0)

    def place(cell: Cell) -> float | None:
        return None if cell.order is None or high == low else round((float(cell.text) - low) / (high - low), 3)

    named = marks([cell.order for cell in cells])
    return [replace(cell, mark=mark, place=place(cell)) for cell, mark in zip(cells, named, strict=True)]


def _facets(records: list[Record]) -> dict[str, list[str]]:
    return {name: sorted({get(r) for r in records}, key=_natural) for name, get in FACETS.items()}


def _words(record: Record) -> list[str]:
    """name=value of the method's options and of the recipe, as the command line writes them."""
    config = record["config"]
    method = [f"{k}={_plain(v)}" for k, v in config["method"].items() if k not in ("name", "label")]
    return method + [f"{k}={_plain(v)}" for k, v in config["recipe"].items()]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _natural(text: str) -> tuple[float, str]:
    """Sort key: a leading number by its value, texts after it."""
    head = text.split(" ")[0]
    return (float(head) if head.isdigit() else float("inf"), text)
