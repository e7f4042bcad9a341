"""Published rows that sweeps aim at: what was run for each, and cell by cell published | ours | difference."""

from collections.abc import Sequence
from dataclasses import dataclass

from aoft_bench.results.published import BEST_EPOCH, LAST_EPOCH, UNKNOWN, signed
from aoft_bench.results.ranking import rounded
from aoft_bench.results.reproduction import CellPair, Match, Target, flat_mean, matches
from aoft_bench.results.settings import BENCHMARKS, Comparison
from aoft_bench.results.table import Column, Entry, Table, make_block, mean_entry, number_entry

EMPTY = Entry("")
NAMED = 3  # tasks that the line of a mean names
WITHIN = (
    "Within seeds: the published number lies where 95 % of further seeds of ours are expected, "
    "mean ± t s √(1 + 1/n), and its rounding; with one seed that cannot be said"
)


@dataclass(frozen=True)
class _Line:
    """A target in the overview, with what stands beside it."""

    target: Target
    match: Match | None


@dataclass(frozen=True)
class _Cell:
    """A line of a target's own table. task: or what the mean is over."""

    task: str
    pair: CellPair


def reproduction_tables(targets: Sequence[Target], comparisons: Sequence[Comparison]) -> list[Table]:
    """An overview of all targets, and a table for each of our rows beside one; nothing without targets."""
    found = {target.name: matches(target, comparisons) for target in targets}
    lines = [_Line(target, next(iter(found[target.name]), None)) for target in targets]
    if not lines:
        return []
    return [_overview(lines), *(_table_of(match) for some in found.values() for match in some)]


def _overview(lines: Sequence[_Line]) -> Table:
    columns: list[Column[_Line]] = [
        Column("published row", lambda line: Entry(line.target.row.method), text=True),
        Column("benchmark", lambda line: Entry(_benchmark(line.target)), text=True),
        Column("sweep", lambda line: Entry(line.target.sweep), text=True),
        Column("published mean", lambda line: number_entry(flat_mean(line.target.row), absent=EMPTY)),
        Column("ours", lambda line: _ours(line.match.mean) if line.match and line.match.whole else EMPTY),
        Column("tasks run", _tasks_run),
        Column("mean difference", lambda line: _difference(line.match.mean) if line.match else EMPTY),
        Column("within seeds", _cells_within),
        Column("checkpoint", lambda line: Entry(line.target.row.checkpoint), text=True),
        Column("factors that differ", _factors),
        Column("source", lambda line: Entry(line.target.row.source), text=True),
    ]
    caption = (
        "Published rows that a sweep aims at (-cd sweeps -cn NAME) and what was run for them, the setting that differs "
        "least; empty where nothing was run. Means are flat. Differences are ours minus published, over the tasks that "
        "were run; the factors that differ stand below a table of their own. "
        f"{WITHIN}"
    )
    return Table("Reproduction of published rows", caption, columns, [make_block(columns, lines)])


def _table_of(match: Match) -> Table:
    target, row = match.target, match.target.row
    columns: list[Column[_Cell]] = [
        Column("task", lambda cell: Entry(cell.task), text=True),
        Column("published", lambda cell: number_entry(cell.pair.published, absent=EMPTY)),
        Column("ours", lambda cell: _ours(cell.pair)),
        Column("difference", lambda cell: _difference(cell.pair)),
        Column("within seeds?", lambda cell: _within(cell.pair), text=True),
        Column("95 % of seeds", lambda cell: _interval(cell.pair)),
        Column("seeds", lambda cell: Entry(", ".join(map(str, cell.pair.seeds))), text=True),
    ]
    cells = [_Cell(task, match.cells.get(task, CellPair(target.row.cells.get(task), (), ()))) for task in target.tasks]
    some = ", ".join(match.cells) if len(match.cells) <= NAMED else f"these {len(match.cells)}"
    mean = _Cell("mean" if match.whole else f"mean of {some}", match.mean)
    checkpoint = BEST_EPOCH if match.best_epoch else LAST_EPOCH
    caption = (
        f"Top-1 in % on test, {checkpoint}; published: {row.source}, {_stated(row.checkpoint)}; empty where nothing "
        f"was run. {WITHIN}"
    )
    return Table(
        f"Reproduction of {row.method} ({target.name}): {match.row.label} in {match.comparison.title}",
        caption,
        columns,
        [make_block(columns, cells), make_block(columns, [mean])],
        [f"Differs: {text}." for text in match.different] + ([f"{row.note}."] if row.note else []),
        match.comparison.setting.as_columns(),
    )


def _benchmark(target: Target) -> str:
    return next(name for layout, name in BENCHMARKS.items() if layout == target.row.benchmark)


def _stated(checkpoint: str) -> str:
    return f"checkpoint {UNKNOWN}" if checkpoint == UNKNOWN else checkpoint


def _ours(pair: CellPair) -> Entry:
    return mean_entry(pair.values, pair.seeds) if pair.values else EMPTY


def _difference(pair: CellPair) -> Entry:
    return EMPTY if pair.difference is None else Entry(signed(pair.difference), pair.difference)


def _within(pair: CellPair) -> Entry:
    if pair.within is None:
        return Entry("one seed") if len(pair.values) == 1 and pair.published is not None else EMPTY
    return Entry("yes" if pair.within else "no")


def _interval(pair: CellPair) -> Entry:
    return EMPTY if pair.interval is None else Entry(" to ".join(rounded(end) for end in pair.interval))


def _factors(line: _Line) -> Entry:
    return Entry(str(len(line.match.different)), float(len(line.match.different))) if line.match else EMPTY


def _tasks_run(line: _Line) -> Entry:
    return Entry(f"{len(line.match.cells) if line.match else 0} of {len(line.target.tasks)}")


def _cells_within(line: _Line) -> Entry:
    said = [pair.within for pair in line.match.cells.values() if pair.within is not None] if line.match else []
    return Entry(f"{sum(said)} of {len(said)}") if said else EMPTY
