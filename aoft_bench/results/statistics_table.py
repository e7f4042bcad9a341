"""The statistics of a table, laid out as tables."""

from aoft_bench.results.accuracy_table import facts
from aoft_bench.results.ranking import rounded
from aoft_bench.results.settings import Table
from aoft_bench.results.statistics import (
    ALPHA,
    MIN_METHODS,
    MIN_TASKS,
    RESAMPLES,
    Interval,
    Paired,
    Pool,
    RankComparison,
    bootstrap,
    compare_ranks,
    paired,
    pool_of,
)
from aoft_bench.results.table import Block, Cell, Column, Grid

_LIMITS = (
    f"Too few: under {MIN_TASKS} tasks (with {MIN_TASKS - 1} no two-sided test of pairs could reach 0.05), "
    f"{MIN_METHODS} methods, or 2 seeds in a cell."
)


def statistics_grids(table: Table) -> list[Grid]:
    """Ranks and intervals of a table's pool, and AOFT against each other row; nothing for a single row."""
    if len(table.rows) < 2:
        return []
    pool = pool_of(table)
    grids = [_pool_grid(table, pool)] if len(pool.rows) > 1 else []
    pairs = paired(table)
    return [*grids, _paired_grid(table, pairs)] if pairs else grids


def _pool_grid(table: Table, pool: Pool) -> Grid:
    comparison = compare_ranks(pool)
    ranks = dict(zip(comparison.methods, comparison.ranks, strict=True))
    columns = [
        Column("method", text=True),
        Column("average rank"),
        Column("mean"),
        Column("95 %, seeds", text=True),
        Column("95 %, tasks and seeds", text=True),
    ]
    body = [
        [
            Cell(one.label),
            Cell(rounded(ranks[one.label], 2)),
            Cell(rounded(one.mean)),
            Cell(_interval(one.over_seeds)),
            Cell(_interval(one.over_tasks)),
        ]
        for one in sorted(bootstrap(pool), key=lambda one: (ranks[one.label], one.label))
    ]
    rows, tasks = (", ".join(names) for names in ([row.label for row in pool.rows], pool.tasks))
    caption = (
        f"Pool: {len(pool.rows)} rows ({rows}) on {len(pool.tasks)} task{'s' * (len(pool.tasks) > 1)} ({tasks}). Ranks "
        f"are of printed numbers, 1 is best; intervals of the mean over these tasks are percentiles of {RESAMPLES:,} "
        "stratified bootstrap samples: of the seeds of each task, and of the tasks of each group and their seeds"
    )
    notes = [_test(comparison), _LIMITS]
    if pool.left_out:
        notes.append(f"Not in the pool, since they lack a task: {', '.join(pool.left_out)}.")
    return Grid(f"Ranks and intervals: {table.title}", caption, columns, [Block("", body)], notes, facts(table))


def _test(comparison: RankComparison) -> str:
    if comparison.cd is None or comparison.statistic is None or comparison.p_value is None:
        return f"No test of the ranks: {comparison.reason}."
    bars = "; ".join(" = ".join(group) for group in comparison.groups) or "none"
    return (
        f"Friedman: chi-square {comparison.statistic:.2f}, p {p_value(comparison.p_value)}. Nemenyi critical "
        f"difference at {ALPHA:g}: {comparison.cd:.2f} ranks. Not told apart: {bars}."
    )


def _paired_grid(table: Table, pairs: list[Paired]) -> Grid:
    columns = [
        Column("AOFT", text=True),
        Column("against", text=True),
        *(Column(name) for name in ("tasks", "wins", "ties", "losses", "difference")),
        *(Column(name, text=True) for name in ("95 %", "sign p", "Wilcoxon p", "Holm p")),
    ]
    body = [
        [
            *(Cell(text) for text in (pair.first, pair.second)),
            *(Cell(str(count)) for count in (len(pair.tasks), pair.wins, pair.ties, pair.losses)),
            Cell(rounded(pair.difference)),
            Cell(_interval(pair.interval)),
            *(Cell(pair.reason if p is None else p_value(p)) for p in (pair.sign, pair.wilcoxon, pair.holm)),
        ]
        for pair in pairs
    ]
    caption = (
        "AOFT rows against every other row, on the tasks that both have: printed numbers that are higher, equal and "
        "lower; mean difference in points with its bootstrap interval over tasks and seeds; two-sided p-values over "
        "the tasks that are no tie; Holm: Wilcoxon corrected for all comparisons of that AOFT row in this table"
    )
    return Grid(f"AOFT against each: {table.title}", caption, columns, [Block("", body)], [_LIMITS], facts(table))


def _interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return interval.reason
    return f"{rounded(interval.low)} to {rounded(interval.high)}"


def p_value(value: float) -> str:
    """A p-value as it is printed."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
