"""Comparison tables from records: one table a setting, one row a method variant, one column a dataset.

A setting is everything but the method that a number depends on: protocol, backbone file, image size, normalisation,
interpolation, epochs and precision. Records of different settings never share a table, and runs of one method that
differ in options or recipe never share a cell: they become rows of their own, labelled by what differs.
"""

import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from aoft_bench.data.tasks import TASKS

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A method variant. cells: dataset -> top-1 of its seeds, in %; trained, head: parameters, mean over datasets."""

    label: str
    cells: dict[str, list[float]]
    best_epoch: dict[str, list[float]]
    trained: float
    head: float


@dataclass(frozen=True)
class Table:
    """All rows of one setting. notes: what a reader must know, made from the records."""

    title: str
    caption: str
    datasets: list[str]
    unofficial: set[str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def build_tables(records: list[Record]) -> list[Table]:
    """Tables of all settings, in order of their titles."""
    settings: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        settings[_setting(record)].append(record)
    return [_table(settings[key]) for key in sorted(settings, key=str)]


def means(row: Row, datasets: list[str]) -> tuple[float | None, float | None]:
    """(flat mean over datasets, mean of the group means) of a row; None where a dataset is missing.

    They are different numbers: on VTAB-1k, with 7, 4 and 8 tasks a group, they differ by 2 to 5 points.
    """
    if any(name not in row.cells for name in datasets):
        return None, None
    cells = {name: statistics.fmean(row.cells[name]) for name in datasets}
    groups: dict[str, list[float]] = defaultdict(list)
    for name, value in cells.items():
        groups[TASKS[name].group].append(value)
    return statistics.fmean(cells.values()), statistics.fmean(statistics.fmean(g) for g in groups.values())


def markdown(tables: list[Table]) -> str:
    """All tables as Markdown: top-1 in %, mean ± standard deviation over seeds, both means, parameters."""
    return "\n".join(_markdown(table) for table in tables)


def text_tables(records: list[Record]) -> str:
    """The same for a terminal."""
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    with console.capture() as capture:
        for table in build_tables(records):
            shown = RichTable(title=f"{table.title}\n{table.caption}", title_justify="left")
            for i, name in enumerate(_header(table)):
                shown.add_column(name, justify="right" if i else "left", no_wrap=not i)
            for cells in _body(table):
                shown.add_row(*cells)
            console.print(shown)
            for note in table.notes:
                console.print(note, style="dim", highlight=False)
    return capture.get()


def _setting(record: Record) -> tuple[Any, ...]:
    config = record["config"]
    return (
        record["backbone"],
        config["backbone"]["img_size"],
        record["protocol"]["name"],
        config["recipe"]["epochs"],
        tuple(record["data"]["mean"] + record["data"]["std"]),
        config["data"]["interpolation"],
        record["precision"],
        record["weights"]["sha256"],
    )


def _table(records: list[Record]) -> Table:
    backbone, size, protocol, epochs, normalization, interpolation, precision, sha256 = _setting(records[0])
    order = list(TASKS)
    datasets = sorted({r["dataset"] for r in records}, key=order.index)
    unofficial = {r["dataset"] for r in records if not r["data"]["official"]}
    seeds = sorted({r["seed"] for r in records})
    split = records[0]["metrics"]["split"]
    caption = (
        f"{split} top-1 in % of the last epoch, seeds {', '.join(map(str, seeds))}; {epochs} epochs, {size} px "
        f"{interpolation}, mean {_triple(normalization[:3])}, std {_triple(normalization[3:])}, {precision}, "
        f"weights {sha256[:12]}"
    )
    notes = []
    if unofficial:
        why = "; ".join(sorted({r["data"]["official_note"] for r in records if not r["data"]["official"]}))
        notes.append(f"* not the official images or splits ({why}): not comparable with published rows.")
    if protocol == "literature":
        notes.append("[best test epoch] is chosen on the test split, as many papers do; it is not the result.")
    rows = _rows(records)
    return Table(f"{backbone}, protocol {protocol}", caption, datasets, unofficial, rows, notes)


def _triple(values: tuple[float, ...]) -> str:
    return "/".join(dict.fromkeys(f"{v:g}" for v in values))


def _rows(records: list[Record]) -> list[Row]:
    by_method: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_method[record["method"]].append(record)
    rows = []
    for method in sorted(by_method):
        variants = _variants(by_method[method])
        for label, members in variants:
            cells: dict[str, list[float]] = defaultdict(list)
            best: dict[str, list[float]] = defaultdict(list)
            for record in sorted(members, key=lambda r: r["seed"]):
                cells[record["dataset"]].append(record["metrics"]["top1"])
                if "best_test_epoch_top1" in record["metrics"]:
                    best[record["dataset"]].append(record["metrics"]["best_test_epoch_top1"])
            one_each = {r["dataset"]: r["parameters"] for r in members}.values()
            trained = statistics.fmean(p["trained"] for p in one_each)
            head = statistics.fmean(p["head"] for p in one_each)
            rows.append(Row(f"{method}{label}", dict(cells), dict(best), trained, head))
    return sorted(rows, key=lambda row: (row.trained, row.label))


def _variants(records: list[Record]) -> list[tuple[str, list[Record]]]:
    """Records of one method in groups that may share a row, with a label of what differs between the groups.

    Method options always separate rows. Recipes and data may differ from dataset to dataset (tuned per task) within a
    row; where one dataset has several, they separate rows too.
    """

    def extras(record: Record) -> dict[str, Any]:
        return {**record["config"]["recipe"], "data": record["data"]["fingerprint"][:8]}

    options: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        options[str(sorted(record["config"]["method"].items(), key=str))].append(record)
    groups: list[tuple[dict[str, Any], list[Record]]] = []
    for members in options.values():
        per_dataset: dict[str, set[str]] = defaultdict(set)
        for record in members:
            per_dataset[record["dataset"]].add(str(extras(record)))
        if all(len(found) == 1 for found in per_dataset.values()):
            groups.append((members[0]["config"]["method"], members))
            continue
        split: dict[str, list[Record]] = defaultdict(list)
        for record in members:
            split[str(extras(record))].append(record)
        groups += [({**some[0]["config"]["method"], **extras(some[0])}, some) for some in split.values()]
    keys = {key for shown, _ in groups for key in shown}
    differing = sorted(k for k in keys if len({str(shown.get(k, "-")) for shown, _ in groups}) > 1)
    labelled = []
    for shown, members in groups:
        told = ", ".join(f"{k}={_plain(shown[k])}" for k in differing if k in shown)
        labelled.append((f" ({told})" if told else "", members))
    return sorted(labelled, key=lambda pair: pair[0])


def _plain(value: Any) -> str:
    return (
        "+".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _header(table: Table) -> list[str]:
    columns = [name + ("*" if name in table.unofficial else "") for name in table.datasets]
    return ["method", "trained", "with head", *columns, *(["mean", "mean of groups"] if len(columns) > 1 else [])]


def _body(table: Table) -> list[list[str]]:
    lines = []
    for row in table.rows:
        cells = [row.label, _count(row.trained), _count(row.trained + row.head)]
        cells += [_cell(row.cells.get(name), row.best_epoch.get(name)) for name in table.datasets]
        if len(table.datasets) > 1:
            cells += ["-" if mean is None else f"{mean:.1f}" for mean in means(row, table.datasets)]
        lines.append(cells)
    return lines


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _cell(values: list[float] | None, best: list[float] | None) -> str:
    if not values:
        return "missing"
    text = f"{statistics.fmean(values):.1f}"
    text += f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return text + (f" [best test epoch {statistics.fmean(best):.1f}]" if best else "")


def _markdown(table: Table) -> str:
    header, body = _header(table), _body(table)
    lines = [f"### {table.title}", "", table.caption + ".", ""]
    lines.append("| " + " | ".join(header) + " |")
    lines.append("|" + "|".join(" --- " if i == 0 else " ---: " for i in range(len(header))) + "|")
    lines += ["| " + " | ".join(cells) + " |" for cells in body]
    lines += ["", *[note.replace("*", r"\*", 1) for note in table.notes]]
    return "\n".join(lines) + "\n"
