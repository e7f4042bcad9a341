"""Tables laid out: accuracy in the field's columns or plain, ablations, and published rows below a rule or alone."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from aoft_bench.data.tasks import TASKS
from aoft_bench.results.published import PublishedRow, differences
from aoft_bench.results.ranking import marks, rounded, spread
from aoft_bench.results.rows import Row, group_mean, means, plain
from aoft_bench.results.settings import Layout, Table, triple
from aoft_bench.results.table import MISSING, Block, Cell, Column, Grid

NOT_AVAILABLE = "n/a"
FLAT, GROUPED = "mean", "mean of groups"


def accuracy(table: Table, published: Sequence[PublishedRow] = ()) -> Grid:
    """Top-1 of a table's rows; published rows, if any, in blocks of their own that are not ranked."""
    columns = [*_first_columns(table.layout), *_score_columns(table.datasets, table.layout, table.unofficial)]
    blocks = [Block("", _ranked([_row_cells(row, table) for row in table.rows], first=3))]
    best = [row for row in table.rows if row.best_epoch]
    if best:
        blocks.append(Block("best test epoch, not a result", [_row_cells(_of_best_epoch(row), table) for row in best]))
    told = _told_beside(table, published) if published else []
    theirs, notes = published_blocks(published, table.datasets, table.layout, told)
    return Grid(table.title, table.caption, columns, [*blocks, *theirs], [*table.notes, *notes], facts(table))


def published_only(title: str, rows: Sequence[PublishedRow], layout: Layout) -> Grid:
    """Published rows alone."""
    datasets = [name for name, task in TASKS.items() if task.suite == layout]
    columns = [*_first_columns(layout), *_score_columns(datasets, layout)]
    blocks, notes = published_blocks(rows, datasets, layout, [[f"backbone {row.backbone}"] for row in rows])
    caption = (
        f"Published top-1 in %, {len(rows)} rows; cells as printed, means computed from them where they are known; "
        "rows of different sources are not comparable, so nothing is ranked"
    )
    return Grid(title, caption, columns, blocks, notes)


def ablation(table: Table) -> list[Grid]:
    """One table for each method of which several settings stand in `table`: what differs, and what it does."""
    families: dict[str, list[Row]] = defaultdict(list)
    for row in table.rows:
        families[row.family].append(row)
    return [_ablation(table, name, rows) for name, rows in sorted(families.items()) if len(rows) > 1]


def facts(table: Table) -> dict[str, str]:
    """What all rows of a table share, for CSV."""
    s = table.setting
    return {
        "suite": s.suite,
        "backbone": s.backbone,
        "weights": s.sha256[:12],
        "protocol": s.protocol,
        "split": s.split,
        "epochs": str(s.epochs),
        "img_size": str(s.img_size),
        "interpolation": s.interpolation,
        "normalization": f"{triple(s.mean)}, {triple(s.std)}",
        "precision": s.precision,
        "images": s.source,
        "official": str(s.official).lower(),
    }


def published_blocks(
    rows: Sequence[PublishedRow], datasets: Sequence[str], layout: Layout, told: Sequence[Sequence[str]]
) -> tuple[list[Block], list[str]]:
    """A block for each source of published rows, and the notes their letters refer to.

    told: for each row the texts that its own letter stands for, beside what its source says of it and where its
    printed mean disagrees with its cells.
    """
    letters: dict[str, str] = {}
    by_source: dict[str, list[list[Cell]]] = defaultdict(list)
    for row, texts in zip(rows, told, strict=True):
        reasons = ["; ".join(texts), row.note, *row.disagreements]
        marked = [letters.setdefault(text, _letter(len(letters))) for text in reasons if text]
        by_source[row.source].append(_published_cells(row, datasets, layout, ",".join(marked)))
    blocks = [Block(f"published, not ranked with ours: {source}", cells) for source, cells in by_source.items()]
    return blocks, [f"[{letter}] {text}." for text, letter in letters.items()]


def _told_beside(table: Table, published: Sequence[PublishedRow]) -> list[list[str]]:
    record = table.records[0]
    timm, weights = record["config"]["backbone"]["timm"], record["weights"]["source"]
    return [differences(row, table.setting, timm, weights) for row in published]


def _letter(index: int) -> str:
    """a, b, .. z, aa, ab, .."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ("" if index < 26 else _letter(index // 26 - 1)) + letters[index % 26]


def _groups(datasets: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(TASKS[name].group for name in datasets))


def _both_means(datasets: Sequence[str]) -> bool:
    """Whether the mean of the group means is another number than the flat mean."""
    sizes = {sum(TASKS[name].group == group for name in datasets) for group in _groups(datasets)}
    return len(sizes) > 1


def _first_columns(layout: Layout) -> list[Column]:
    """The method and its parameters: in millions in the field's layouts, exactly in plain ones."""
    unit = "" if layout == "plain" else " (M)"
    counts = [Column(f"{name}{unit}", rotated=layout == "vtab1k") for name in ("trained", "with head")]
    return [Column("method", text=True), *counts]


def _score_columns(datasets: Sequence[str], layout: Layout, starred: Collection[str] = ()) -> list[Column]:
    """Columns of the datasets, of the group means in the layout of VTAB-1k, and of the means over all."""

    def column(name: str, group: str = "") -> Column:
        return Column(name, group, rotated=bool(group), mark="*" if name in starred else "")

    if layout == "vtab1k":
        columns = []
        for group in _groups(datasets):
            names = [*(name for name in datasets if TASKS[name].group == group), f"{group} mean"]
            columns += [column(name, group.capitalize()) for name in names]
        return [*columns, Column(FLAT, rotated=True), Column(GROUPED, rotated=True)]
    columns = [column(name) for name in datasets]
    if len(datasets) > 1:
        columns += [Column(FLAT)] + [Column(GROUPED)] * _both_means(datasets)
    return columns


def _scores(
    datasets: Sequence[str],
    layout: Layout,
    dataset: Callable[[str], Cell],
    group: Callable[[str], Cell],
    over_all: Sequence[Cell],
) -> list[Cell]:
    """Cells in the order of `_score_columns`. over_all: the flat mean and the mean of the group means."""
    if layout == "vtab1k":
        cells = []
        for name in _groups(datasets):
            cells += [*(dataset(task) for task in datasets if TASKS[task].group == name), group(name)]
        return [*cells, *over_all]
    cells = [dataset(name) for name in datasets]
    if len(datasets) > 1:
        cells += [over_all[0], *([over_all[1]] * _both_means(datasets))]
    return cells


def _row_cells(row: Row, table: Table) -> list[Cell]:
    def dataset(name: str) -> Cell:
        values = row.cells.get(name)
        if not values:
            return Cell(MISSING)
        return Cell(rounded(statistics.fmean(values)), spread(values), "", "", tuple(values), tuple(row.seeds(name)))

    def group(name: str) -> Cell:
        return _mean_cell(group_mean(row, table.datasets, name))

    over_all = [_mean_cell(mean) for mean in means(row, table.datasets)]
    scores = _scores(table.datasets, table.layout, dataset, group, over_all)
    shown = count if table.layout == "plain" else millions
    return [Cell(row.label), Cell(shown(row.trained)), Cell(shown(row.trained + row.head)), *scores]


def _of_best_epoch(row: Row) -> Row:
    return replace(row, label=f"{row.label} [best test epoch]", cells=row.best_epoch)


def count(parameters: float) -> str:
    """A number of parameters, exactly (a mean over tasks to the next whole one)."""
    return f"{parameters:,.0f}"


def millions(parameters: float) -> str:
    """A number of parameters in millions; to three decimals, as small methods train some thousands."""
    return "0" if not parameters else rounded(parameters / 1e6, 3)


def _mean_cell(mean: float | None) -> Cell:
    return Cell(MISSING) if mean is None else Cell(rounded(mean))


def _ranked(rows: list[list[Cell]], first: int) -> list[list[Cell]]:
    """The rows with the best and the second number of each column from `first` on marked."""
    columns = range(first, len(rows[0]) if rows else first)
    ranks = {i: marks([None if row[i].text == MISSING else float(row[i].text) for row in rows]) for i in columns}
    return [
        [replace(cell, mark=ranks[i][number]) if i in ranks else cell for i, cell in enumerate(row)]
        for number, row in enumerate(rows)
    ]


def _published_cells(row: PublishedRow, datasets: Sequence[str], layout: Layout, note: str) -> list[Cell]:
    def number(value: float | None) -> Cell:
        return Cell(NOT_AVAILABLE) if value is None else Cell(rounded(value))

    def group(name: str) -> Cell:
        computed = row.computed_group(name)
        return number(row.groups.get(name) if computed is None else computed)

    printed = {row.mean_kind: row.mean}
    over_all = [number(row.computed.get(kind, printed.get(kind))) for kind in ("mean19", "group3")]
    scores = _scores(datasets, layout, lambda name: number(row.cells.get(name)), group, over_all)
    counted = Cell(NOT_AVAILABLE if row.params_m is None else f"{row.params_m:g}")
    return [Cell(row.method, note=note), counted, Cell(NOT_AVAILABLE), *scores]


def _ablation(table: Table, family: str, rows: list[Row]) -> Grid:
    settings = [_options(row) for row in rows]
    keys = dict.fromkeys(key for shown in settings for key in shown)
    differing = [key for key in keys if len({str(shown.get(key)) for shown in settings}) > 1]
    whole = accuracy(replace(table, rows=rows, notes=[]))
    kept = [i for i, column in enumerate(whole.columns) if i < 3 or not column.group or column.name.endswith(" mean")]
    columns = [whole.columns[0], *(Column(key, text=True) for key in differing), *(whole.columns[i] for i in kept[1:])]
    body = [
        [row[0], *(Cell(plain(shown.get(key, NOT_AVAILABLE))) for key in differing), *(row[i] for i in kept[1:])]
        for row, shown in zip(whole.blocks[0].rows, settings, strict=True)
    ]
    caption = f"The settings of {family} in the table of this title, and what differs between them; {table.caption}"
    notes = [note for note in table.notes if not note.startswith(family)]
    return Grid(f"Settings of {family}: {table.title}", caption, columns, [Block("", body)], notes, whole.facts)


def _options(row: Row) -> dict[str, Any]:
    """Options of a row's method, and those values of the recipe that are the same for all of its datasets."""
    method = {key: value for key, value in row.records[0]["config"]["method"].items() if key not in ("name", "label")}
    recipes = [record["config"]["recipe"] for record in row.records]
    same = {key: value for key, value in recipes[0].items() if all(recipe.get(key) == value for recipe in recipes)}
    return method | {key: value for key, value in same.items() if key != "epochs"}
