"""Tables of published rows alone: with computed means for the files, and as printed for the page."""

from collections.abc import Iterable, Sequence
from functools import partial

from aoft_bench.data.tasks import TASKS
from aoft_bench.results.accuracy_table import accuracy_columns, published_blocks
from aoft_bench.results.published import PublishedRow
from aoft_bench.results.settings import BENCHMARKS, Layout
from aoft_bench.results.table import Column, Entry, Table, make_block

NOTHING = Entry("-")
_KINDS = {"mean19": "flat mean", "group3": "mean of groups", "none": "", "groups only": ""}


def published_tables(rows: Iterable[PublishedRow]) -> list[Table]:
    """The canonical rows in the columns of the accuracy table, a table for each benchmark and kind of network."""
    return [
        _published_table(f"Published {name} results of {kind}", some, layout)
        for layout, name in BENCHMARKS.items()
        for kind, some in _by_network(rows, layout, whole=False)
    ]


def printed_tables(rows: Iterable[PublishedRow]) -> list[Table]:
    """The canonical rows as their authors printed them and with what is known of them, a table for each benchmark and
    backbone; nothing is ranked."""
    return [
        _printed_table(f"{name}, {backbone}", some, layout)
        for layout, name in BENCHMARKS.items()
        for backbone, some in _by_network(rows, layout, whole=True)
    ]


def _by_network(rows: Iterable[PublishedRow], layout: Layout, whole: bool) -> Iterable[tuple[str, list[PublishedRow]]]:
    """whole: by the backbone as it is stated, not only by its architecture."""
    found: dict[str, list[PublishedRow]] = {}
    for row in rows:
        if row.canonical and row.benchmark == layout:
            found.setdefault(row.backbone if whole else row.backbone.split()[0].rstrip(","), []).append(row)
    return found.items()


def _published_table(title: str, rows: Sequence[PublishedRow], layout: Layout) -> Table:
    columns = accuracy_columns(_datasets(layout), layout)
    blocks, notes = published_blocks(columns, rows, [[f"backbone {row.backbone}"] for row in rows])
    caption = (
        f"Published top-1 in %, {len(rows)} rows; cells as printed, means computed from them where they are known; "
        "rows of different sources are not comparable, so nothing is ranked"
    )
    return Table(title, caption, columns, blocks, notes, grouped=layout == "vtab1k")


def _printed_table(title: str, rows: Sequence[PublishedRow], layout: Layout) -> Table:
    columns: list[Column[PublishedRow]] = [
        Column("method", lambda row: Entry(row.method), text=True),
        *(Column(name, partial(_score, name), rotated=True) for name in [*_datasets(layout), *_shifts(layout)]),
        Column("printed mean", _mean),
        Column("parameters (M)", lambda row: NOTHING if row.params_m is None else Entry(f"{row.params_m:g}")),
        Column("checkpoint", lambda row: Entry(row.checkpoint), text=True),
        Column("images", lambda row: Entry(row.images), text=True),
        Column("normalisation", lambda row: Entry(row.normalization), text=True),
        Column("source and remark", lambda row: Entry(row.source, remark=_remark(row)), text=True),
    ]
    return Table(title, "", columns, [make_block(columns, rows)])


def _datasets(layout: Layout) -> list[str]:
    return [name for name, task in TASKS.items() if task.suite == layout]


def _shifts(layout: Layout) -> list[str]:
    return [shift for name in _datasets(layout) for shift in TASKS[name].shifts]


def _score(name: str, row: PublishedRow) -> Entry:
    return Entry(_as_printed(row.cells[name]), row.cells[name]) if name in row.cells else NOTHING


def _mean(row: PublishedRow) -> Entry:
    if row.mean is None:
        return NOTHING
    return Entry(f"{_as_printed(row.mean)} {_KINDS.get(row.mean_kind, row.mean_kind)}".strip(), row.mean)


def _remark(row: PublishedRow) -> str:
    """What is printed and does not follow from the cells, and what else a reader must know."""
    groups = [f"{name} {_as_printed(value)}" for name, value in row.groups.items()]
    return "; ".join([*row.disagreements, *([row.note] if row.note else []), *(groups if not row.cells else [])])


def _as_printed(value: float) -> str:
    text = f"{value:g}"
    return text if "." in text else f"{text}.0"
