"""Statistics of the rows of a comparison over its tasks: average ranks, bootstrap intervals, wins and losses.

All of them compare the printed numbers (means over seeds, to 0.1), so that what a reader sees equal counts as equal.
With too few tasks, methods or seeds, a reason stands in place of the number.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from aoft_bench.data.tasks import find
from aoft_bench.results.ranking import printed_mean
from aoft_bench.results.rows import Row
from aoft_bench.results.settings import Comparison

# with 5 pairs the smallest two-sided p of a sign or signed-rank test is 0.0625, so that nothing could ever be found
MIN_TASKS = 6
MIN_METHODS = 3
ALPHA = 0.05
RESAMPLES = 2000
TOO_FEW_TASKS = "too few tasks"
TOO_FEW_SEEDS = "too few seeds"


@dataclass(frozen=True)
class Pool:
    """The rows that are compared, those that have every task that any row has. left_out: labels of the others; tasks:
    in the order of the columns."""

    rows: list[Row]
    tasks: list[str]
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RankComparison:
    """Average ranks, 1 the best, and the Nemenyi critical difference: what a critical-difference diagram shows.

    methods: labels from the best average rank to the worst; ranks: theirs; reason: why there is no test, and so none of
    the rest; cd: two methods differ at level `ALPHA` if their average ranks are further apart; groups: the largest sets
    of neighbouring methods that do not differ (bars of the diagram); statistic, p_value: Friedman's test that all
    methods are equal.
    """

    methods: list[str]
    ranks: list[float]
    tasks: list[str]
    reason: str = ""
    cd: float | None = None
    groups: list[list[str]] = field(default_factory=list)
    statistic: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Interval:
    """Percentile interval at 95 % of a mean over tasks, in points. reason: why there is none."""

    low: float | None
    high: float | None
    reason: str = ""


@dataclass(frozen=True)
class Bootstrap:
    """A row's flat mean over the pool's tasks with two intervals: over_seeds as if the same tasks were run again,
    over_tasks as if other tasks of the same groups were run too."""

    label: str
    mean: float
    over_seeds: Interval
    over_tasks: Interval


@dataclass(frozen=True)
class Paired:
    """An AOFT row against another row, task by task, on the tasks that both have.

    difference: mean of first - second, with a bootstrap interval over tasks and seeds; sign, wilcoxon: two-sided
    p-values over the tasks that are no tie, None with a reason; holm: wilcoxon corrected for all comparisons of the
    same AOFT row.
    """

    first: str
    second: str
    tasks: list[str]
    wins: int
    ties: int
    losses: int
    difference: float
    interval: Interval
    sign: float | None = None
    wilcoxon: float | None = None
    holm: float | None = None
    reason: str = ""


def pool_of(comparison: Comparison) -> Pool:
    """The rows that can be compared on all tasks that any of them has."""
    tasks = [name for name in comparison.datasets if any(name in row.cells for row in comparison.rows)]
    whole = [row for row in comparison.rows if all(name in row.cells for name in tasks)]
    return Pool(whole, tasks, [row.label for row in comparison.rows if row not in whole])


def not_comparable(pool: Pool) -> str:
    """Why the ranks of a pool have no critical difference; empty where they have one."""
    if not pool.rows:
        return "no row has all tasks"
    if len(pool.tasks) < MIN_TASKS:
        return TOO_FEW_TASKS
    if len(pool.rows) < MIN_METHODS:
        return "too few methods"
    printed = [{printed_mean(row.cells[name]) for row in pool.rows} for name in pool.tasks]
    return "all methods print the same on every task" if all(len(some) == 1 for some in printed) else ""


def compare_ranks(pool: Pool) -> RankComparison:
    """Average ranks over the tasks, Friedman's test and the Nemenyi critical difference (Demšar 2006, JMLR 7).

    CD = q sqrt(k (k + 1) / (6 N)) for k methods on N tasks, q the quantile 1 - ALPHA of the studentized range of k
    groups with infinite degrees of freedom over sqrt(2).
    """
    k, n = len(pool.rows), len(pool.tasks)
    reason = not_comparable(pool)
    if not k:
        return RankComparison([], [], pool.tasks, reason)
    table = np.array([[printed_mean(row.cells[name]) for row in pool.rows] for name in pool.tasks])
    mine, theirs = table[:, :, None], table[:, None, :]
    # a rank is 1 plus the number of better methods, and of equal ones that of the middle of their places
    average = (((theirs > mine).sum(axis=2) + (theirs >= mine).sum(axis=2) + 1) / 2).mean(axis=0)
    ordered = sorted(range(k), key=lambda i: (average[i], pool.rows[i].label))
    labels, ranks = [pool.rows[i].label for i in ordered], [float(average[i]) for i in ordered]
    found = RankComparison(labels, ranks, pool.tasks, reason)
    if reason:
        return found
    from scipy.stats import friedmanchisquare, studentized_range  # here, since the import takes as long as ten tables

    cd = float(studentized_range.ppf(1 - ALPHA, k, np.inf)) / 2**0.5 * (k * (k + 1) / (6 * n)) ** 0.5
    groups = [[found.methods[i] for i in group] for group in _groups(found.ranks, cd)]
    test = friedmanchisquare(*table.T)
    return replace(found, cd=cd, groups=groups, statistic=float(test.statistic), p_value=float(test.pvalue))


def bootstrap(pool: Pool) -> list[Bootstrap]:
    """Means over the pool's tasks with stratified bootstrap intervals, best first."""
    found = []
    for row in pool.rows:
        cells = [row.cells[name] for name in pool.tasks]
        mean = statistics.fmean(map(statistics.fmean, cells))
        found.append(Bootstrap(row.label, mean, _over_seeds(cells), _over_tasks(cells, pool.tasks)))
    return sorted(found, key=lambda one: (-one.mean, one.label))


def paired(comparison: Comparison) -> list[Paired]:
    """Every row of an AOFT method against every row of another method, on the tasks that both have."""
    ours = [row for row in comparison.rows if row.is_aoft]
    others = [row for row in comparison.rows if not row.is_aoft]
    found = []
    for first in ours:
        pairs = [_pair(first, second, comparison.datasets) for second in others]
        found += _holm_pairs([pair for pair in pairs if pair.tasks])
    return found


def _groups(ranks: Sequence[float], cd: float) -> list[range]:
    """Maximal runs of sorted ranks that lie within cd, of two or more."""
    runs: list[range] = []
    for start in range(len(ranks)):
        stop = max(i for i in range(start, len(ranks)) if ranks[i] - ranks[start] <= cd) + 1
        if stop - start > 1 and (not runs or stop > runs[-1].stop):
            runs.append(range(start, stop))
    return runs


def _pair(first: Row, second: Row, datasets: Sequence[str]) -> Paired:
    tasks = [name for name in datasets if name in first.cells and name in second.cells]
    # tenths as whole numbers: differences that print equal must tie exactly in the signed ranks
    tenths = [round(10 * (printed_mean(first.cells[t]) - printed_mean(second.cells[t]))) for t in tasks]
    wins, losses = sum(d > 0 for d in tenths), sum(d < 0 for d in tenths)
    cells = ([first.cells[name] for name in tasks], [second.cells[name] for name in tasks])
    difference = statistics.fmean(
        [statistics.fmean(a) - statistics.fmean(b) for a, b in zip(*cells, strict=True)] or [0.0]
    )
    interval = _over_tasks(cells[0], tasks, cells[1])
    counted = (first.label, second.label, tasks, wins, len(tasks) - wins - losses, losses, difference, interval)
    if wins + losses < MIN_TASKS:
        return Paired(*counted, reason=TOO_FEW_TASKS if len(tasks) < MIN_TASKS else "too many ties")
    from scipy.stats import binomtest, wilcoxon

    moved = [d for d in tenths if d]
    return Paired(*counted, float(binomtest(wins, wins + losses).pvalue), float(wilcoxon(moved).pvalue))


def _holm_pairs(pairs: Sequence[Paired]) -> list[Paired]:
    """The pairs with Holm's correction of their Wilcoxon p-values."""
    corrected = holm([pair.wilcoxon for pair in pairs])
    return [replace(pair, holm=p_value) for pair, p_value in zip(pairs, corrected, strict=True)]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of some p-values; None takes no part."""
    tested = sorted((p_value, i) for i, p_value in enumerate(p_values) if p_value is not None)
    corrected: dict[int, float] = {}
    largest = 0.0
    for rank, (p_value, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p_value))
        corrected[index] = largest
    return [corrected.get(i) for i in range(len(p_values))]


def _over_seeds(cells: Sequence[Sequence[float]]) -> Interval:
    """Interval of the mean over tasks when the seeds of each task are drawn again, with replacement."""
    if any(len(values) < 2 for values in cells):
        return Interval(None, None, TOO_FEW_SEEDS)
    return percentiles(_drawn_means(cells, np.random.default_rng(0)).mean(axis=1))


def _over_tasks(
    cells: Sequence[Sequence[float]], tasks: Sequence[str], minus: Sequence[Sequence[float]] | None = None
) -> Interval:
    """The same when tasks are drawn too, within their group. minus: cells of another row on the same tasks; then it is
    the interval of the difference, with the same tasks drawn for both."""
    if len(tasks) < MIN_TASKS:
        return Interval(None, None, TOO_FEW_TASKS)
    generator = np.random.default_rng(0)
    means = _drawn_means(cells, generator)
    if minus is not None:
        means = means - _drawn_means(minus, generator)
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(tasks):
        groups.setdefault(find(name).group, []).append(index)
    drawn = [np.array(group)[generator.integers(len(group), size=(RESAMPLES, len(group)))] for group in groups.values()]
    return percentiles(np.take_along_axis(means, np.hstack(drawn), axis=1).mean(axis=1))


def _drawn_means(cells: Sequence[Sequence[float]], generator: np.random.Generator) -> np.ndarray:
    """Mean of each task (second axis) in each resample (first) of its seeds."""
    means = np.empty((RESAMPLES, len(cells)))
    for column, values in enumerate(cells):
        chosen = generator.integers(len(values), size=(RESAMPLES, len(values)))
        means[:, column] = np.array(values)[chosen].mean(axis=1)
    return means


def percentiles(values: np.ndarray) -> Interval:
    """The interval that leaves out ALPHA of some bootstrap values, half of it on each side."""
    low, high = np.percentile(values, [100 * ALPHA / 2, 100 - 100 * ALPHA / 2])
    return Interval(float(low), float(high))
