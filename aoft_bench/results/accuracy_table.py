"""The table of accuracy: what its columns are, and published rows in blocks of their own."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from aoft_bench.data.tasks import SHIFTS, find
from aoft_bench.results.published import PublishedRow, differences
from aoft_bench.results.ranking import rounded
from aoft_bench.results.rows import Row, group_mean, means
from aoft_bench.results.settings import Comparison, Layout
from aoft_bench.results.table import (
    NOT_AVAILABLE,
    Block,
    Column,
    Entry,
    Table,
    count_entry,
    make_block,
    mean_entry,
    number_entry,
)
from aoft_bench.results.titles import BUILT_IN, Titles

FLAT, GROUPED = "mean", "mean of groups"
APART = "Apart by the rules of docs/results.md"  # begins the note of rows that break one


@dataclass(frozen=True)
class AccuracyColumn(Column[Row]):
    """A column of the accuracy table. published: what stands in it, of a published row; by default, nothing does."""

    published: Callable[[PublishedRow], Entry] = lambda row: NOT_AVAILABLE


def accuracy_columns(
    datasets: Sequence[str],
    layout: Layout,
    unofficial: Collection[str] = (),
    each_dataset: bool = True,
    titles: Titles = BUILT_IN,
) -> list[AccuracyColumn]:
    """The columns from left to right. A new one is one more entry of this list, and is then in every format.

    unofficial: datasets marked by a star; each_dataset: not only the means over several datasets; titles: what they are
    called.
    """
    vtab = layout == "vtab1k"  # with turned headers, as papers print it
    entry, unit = (count_entry, "") if layout == "plain" else (_millions, " (M)")
    return [
        AccuracyColumn("method", lambda row: Entry(row.label), text=True, published=lambda row: Entry(row.method)),
        AccuracyColumn(f"trained{unit}", lambda row: entry(row.trained), rotated=vtab, published=_printed_millions),
        AccuracyColumn(f"with head{unit}", lambda row: entry(row.trained + row.head), rotated=vtab),
        *_score_columns(datasets, layout, unofficial, each_dataset, titles),
    ]


def accuracy_table(comparison: Comparison, published: Sequence[PublishedRow] = ()) -> Table:
    """Top-1 of one setting; published rows, if any, in blocks of their own that are not ranked."""
    columns = accuracy_columns(comparison.datasets, comparison.layout, comparison.unofficial, titles=comparison.titles)
    blocks, apart = own_blocks(columns, comparison)
    best = [row for row in comparison.rows if row.best_epoch]
    if best:
        blocks.append(make_block(columns, map(_of_best_epoch, best), "best test epoch, not a result"))
    reasons = [differences(row, comparison) for row in published]
    theirs, notes = published_blocks(columns, published, reasons)
    return Table(
        comparison.title,
        comparison.caption,
        columns,
        [*blocks, *theirs],
        [*comparison.notes, *apart, *notes],
        comparison.setting.as_columns(),
        grouped=comparison.layout == "vtab1k",
        codes=comparison.codes | {_best_epoch(label): _best_epoch(code) for label, code in comparison.codes.items()},
    )


def own_blocks(columns: Sequence[AccuracyColumn], comparison: Comparison) -> tuple[list[Block], list[str]]:
    """A block of the rows that stand and one of those that break a rule, if any, each ranked in itself, and the note
    that the numbers in the second refer to. A rule that all of its rows break is in its heading."""
    apart = comparison.apart
    blocks = [make_block(columns, comparison.standing, ranked=True)] if comparison.standing else []
    if not apart:
        return blocks, []
    numbers = {text: i for i, text in enumerate(dict.fromkeys(text for row in apart for text in row.broken), 1)}
    common = [text for text in numbers if all(text in row.broken for row in apart)]

    def listed(texts: Iterable[str]) -> str:
        return ",".join(str(numbers[text]) for text in texts)

    block = make_block(columns, apart, f"apart [{listed(common)}]" if common else "apart", ranked=True)
    rows = [
        [replace(first, note=listed(text for text in row.broken if text not in common)), *others]
        for row, (first, *others) in zip(apart, block.rows, strict=True)
    ]
    reasons = "; ".join(f"[{number}] {text}" for text, number in numbers.items())
    return [*blocks, replace(block, rows=rows)], [f"{APART}: {reasons}."]


def published_blocks(
    columns: Sequence[AccuracyColumn], rows: Sequence[PublishedRow], reasons: Sequence[Sequence[str]]
) -> tuple[list[Block], list[str]]:
    """A block for each source of published rows, and the notes that their letters refer to.

    reasons: for each row, why it cannot be compared. Its letters stand for these, for what its source says of it, and
    for what is printed and does not follow from its cells.
    """
    letters: dict[str, str] = {}
    by_source: dict[str, list[list[Entry]]] = defaultdict(list)
    for row, why in zip(rows, reasons, strict=True):
        texts = ["; ".join(why), row.note, *row.disagreements]
        note = ",".join(letters.setdefault(text, _letter(len(letters))) for text in texts if text)
        first, *others = (column.published(row) for column in columns)
        by_source[row.source].append([replace(first, note=note), *others])
    blocks = [Block(f"published, not ranked with ours: {source}", entries) for source, entries in by_source.items()]
    return blocks, [f"[{letter}] {text}." for text, letter in letters.items()]


def _letter(index: int) -> str:
    """a, b, .. z, aa, ab, .."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ("" if index < 26 else _letter(index // 26 - 1)) + letters[index % 26]


def _score_columns(
    datasets: Sequence[str], layout: Layout, unofficial: Collection[str], each_dataset: bool, titles: Titles
) -> list[AccuracyColumn]:
    """Columns of the datasets, of the means of groups in the layout of VTAB-1k, and of the means over all."""
    vtab = layout == "vtab1k"
    column = partial(AccuracyColumn, ranked=True, rotated=vtab)
    sizes = Counter(find(name).group for name in datasets)
    columns = []
    for group in sizes:
        above = group.capitalize() if vtab else group
        for name in (name for name in datasets if each_dataset and find(name).group == group):
            star, printed = "*" if name in unofficial else "", partial(_printed_score, name)
            title = titles.dataset(name)
            columns.append(column(name, partial(_score, name), above, mark=star, title=title, published=printed))
        if vtab:
            printed = partial(_printed_group, group)
            columns.append(column(f"{group} mean", partial(_group_score, datasets, group), above, published=printed))
    if layout == "domainshift":
        return [*columns, *_shift_columns(column)]
    if vtab or len(datasets) > 1:
        columns.append(column(FLAT, partial(_mean_score, datasets, 0), published=partial(_printed_mean, "mean19")))
    if vtab or len(set(sizes.values())) > 1:  # else it is the flat mean
        columns.append(column(GROUPED, partial(_mean_score, datasets, 1), published=partial(_printed_mean, "group3")))
    return columns


def _shift_columns(column: Callable[..., AccuracyColumn]) -> list[AccuracyColumn]:
    """Columns of the further test sets, scored with the same weights, and of their mean."""
    above = "shifted"
    found = [
        column(name, partial(_shift_score, name), above, title=title, published=partial(_printed_score, name))
        for name, title in SHIFTS.items()
    ]
    return [*found, column("mean of shifted", _shift_mean, above, published=_printed_shift_mean)]


def _shift_score(name: str, row: Row) -> Entry:
    records = tuple(record for record in row.records if name in record["metrics"].get("shifts", {}))
    values = [record["metrics"]["shifts"][name]["top1"] for record in records]
    return mean_entry(values, [record["seed"] for record in records], records=records)


def _shift_mean(row: Row) -> Entry:
    means_of_sets = [_shift_score(name, row).number for name in SHIFTS]
    known = [mean for mean in means_of_sets if mean is not None]
    return _over_all(fmean(known) if len(known) == len(SHIFTS) else None, row)


def _printed_shift_mean(row: PublishedRow) -> Entry:
    known = [row.cells[name] for name in SHIFTS if name in row.cells]
    return number_entry(fmean(known) if len(known) == len(SHIFTS) else None, absent=NOT_AVAILABLE)


def _score(name: str, row: Row) -> Entry:
    records = tuple(record for record in row.records if record["dataset"] == name)
    best = row.best_epoch.get(name)
    remark = f"[best test epoch {mean_entry(best, ()).text}]" if best else ""
    return mean_entry(row.cells.get(name, ()), row.seeds(name), records=records, remark=remark)


def _group_score(datasets: Sequence[str], group: str, row: Row) -> Entry:
    return _over_all(group_mean(row.scores, datasets, group), row)


def _mean_score(datasets: Sequence[str], kind: int, row: Row) -> Entry:
    """kind: which of the two `means`."""
    return _over_all(means(row.scores, datasets)[kind], row)


def _over_all(mean: float | None, row: Row) -> Entry:
    return replace(number_entry(mean), records=() if mean is None else tuple(row.records))


def _printed_score(name: str, row: PublishedRow) -> Entry:
    return number_entry(row.cells.get(name), absent=NOT_AVAILABLE)


def _printed_group(group: str, row: PublishedRow) -> Entry:
    computed = row.computed_group(group)
    return number_entry(row.groups.get(group) if computed is None else computed, absent=NOT_AVAILABLE)


def _printed_mean(kind: str, row: PublishedRow) -> Entry:
    known: Mapping[str, float | None] = row.computed or {row.mean_kind: row.mean}
    return number_entry(known.get(kind), absent=NOT_AVAILABLE)


def _printed_millions(row: PublishedRow) -> Entry:
    return NOT_AVAILABLE if row.params_m is None else Entry(f"{row.params_m:g}", 1e6 * row.params_m)


def _millions(parameters: float) -> Entry:
    """A number of parameters in millions; to three decimals, as small methods train some thousands."""
    return Entry(rounded(parameters / 1e6, 3) if parameters else "0", parameters)


def _best_epoch(name: str) -> str:
    return f"{name} [best test epoch]"


def _of_best_epoch(row: Row) -> Row:
    return replace(row, label=_best_epoch(row.label), cells=row.best_epoch, best_epoch={})
