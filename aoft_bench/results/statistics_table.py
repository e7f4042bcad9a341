"""The statistics of a comparison as tables: ranks and intervals of its rows, and AOFT against each other row."""

from collections.abc import Callable
from dataclasses import replace

from aoft_bench.results.ranking import rounded
from aoft_bench.results.settings import Comparison
from aoft_bench.results.statistics import (
    ALPHA,
    MIN_METHODS,
    MIN_TASKS,
    RESAMPLES,
    Bootstrap,
    Interval,
    Paired,
    Pool,
    RankComparison,
    bootstrap,
    compare_ranks,
    paired,
    pool_of,
)
from aoft_bench.results.table import Column, Entry, Table, make_block, number_entry

_LIMITS = (
    f"Too few: under {MIN_TASKS} tasks (with {MIN_TASKS - 1} no two-sided test of pairs could reach 0.05), "
    f"{MIN_METHODS} methods, or 2 seeds in a cell."
)


def statistics_tables(comparison: Comparison) -> list[Table]:
    """Ranks and intervals of the rows that have every task, and AOFT against each other row; nothing for one row."""
    ranked = comparison.ranked()
    if len(ranked.rows) < 2:
        return []
    pool = pool_of(ranked)
    tables = [_pool_table(ranked, pool)] if len(pool.rows) > 1 else []
    pairs = paired(ranked)
    tables += [_paired_table(ranked, pairs)] if pairs else []
    about = ranked.notes[len(comparison.notes) :]
    return [replace(table, notes=[*table.notes, *about]) for table in tables]


def _pool_table(comparison: Comparison, pool: Pool) -> Table:
    ranked = compare_ranks(pool)
    ranks = dict(zip(ranked.methods, ranked.ranks, strict=True))
    columns: list[Column[Bootstrap]] = [
        Column("method", lambda one: Entry(one.label), text=True),
        Column("average rank", lambda one: number_entry(ranks[one.label], 2)),
        Column("mean", lambda one: number_entry(one.mean)),
        Column("95 %, seeds", lambda one: interval_entry(one.over_seeds), text=True),
        Column("95 %, tasks and seeds", lambda one: interval_entry(one.over_tasks), text=True),
    ]
    rows = sorted(bootstrap(pool), key=lambda one: (ranks[one.label], one.label))
    labels = ", ".join(row.label for row in pool.rows)
    tasks = ", ".join(map(comparison.titles.dataset, pool.tasks))
    caption = (
        f"Pool: {len(pool.rows)} rows ({labels}) on {len(pool.tasks)} task{'s' * (len(pool.tasks) > 1)} ({tasks}). "
        "Ranks are of printed numbers, 1 is best; intervals of the mean over these tasks are percentiles of "
        f"{RESAMPLES:,} stratified bootstrap samples: of the seeds of each task, and of the tasks of each group and "
        "their seeds"
    )
    notes = [_test(ranked), _LIMITS]
    if pool.left_out:
        notes.append(f"Not in the pool, since they lack a task: {', '.join(pool.left_out)}.")
    title = f"Ranks and intervals: {comparison.title}"
    return Table(title, caption, columns, [make_block(columns, rows)], notes, comparison.setting.as_columns())


def _test(ranked: RankComparison) -> str:
    if ranked.cd is None or ranked.statistic is None or ranked.p_value is None:
        return f"No test of the ranks: {ranked.reason}."
    bars = "; ".join(" = ".join(group) for group in ranked.groups) or "none"
    return (
        f"Friedman: chi-square {ranked.statistic:.2f}, p {p_value(ranked.p_value)}. Nemenyi critical "
        f"difference at {ALPHA:g}: {ranked.cd:.2f} ranks. Not told apart: {bars}."
    )


def _paired_table(comparison: Comparison, pairs: list[Paired]) -> Table:
    def count(name: str, number: Callable[[Paired], int]) -> Column[Paired]:
        return Column(name, lambda pair: number_entry(number(pair), 0))

    def p_column(name: str, value: Callable[[Paired], float | None]) -> Column[Paired]:
        def entry(pair: Paired) -> Entry:
            number = value(pair)
            return Entry(pair.reason) if number is None else Entry(p_value(number), number)

        return Column(name, entry, text=True)

    columns: list[Column[Paired]] = [
        Column("AOFT", lambda pair: Entry(pair.first), text=True),
        Column("against", lambda pair: Entry(pair.second), text=True),
        count("tasks", lambda pair: len(pair.tasks)),
        count("wins", lambda pair: pair.wins),
        count("ties", lambda pair: pair.ties),
        count("losses", lambda pair: pair.losses),
        Column("difference", lambda pair: number_entry(pair.difference)),
        Column("95 %", lambda pair: interval_entry(pair.interval), text=True),
        p_column("sign p", lambda pair: pair.sign),
        p_column("Wilcoxon p", lambda pair: pair.wilcoxon),
        p_column("Holm p", lambda pair: pair.holm),
    ]
    caption = (
        "AOFT rows against every other row, on the tasks that both have: printed numbers that are higher, equal and "
        "lower; mean difference in points with its bootstrap interval over tasks and seeds; two-sided p-values over "
        "the tasks that are no tie; Holm: Wilcoxon corrected for all comparisons of that AOFT row in this table"
    )
    title = f"AOFT against each: {comparison.title}"
    return Table(title, caption, columns, [make_block(columns, pairs)], [_LIMITS], comparison.setting.as_columns())


def interval_entry(interval: Interval) -> Entry:
    """An interval as it is printed, or why there is none."""
    if interval.low is None or interval.high is None:
        return Entry(interval.reason)
    return Entry(f"{rounded(interval.low)} to {rounded(interval.high)}")


def p_value(value: float) -> str:
    """A p-value as it is printed."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
