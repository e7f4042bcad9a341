"""What a setting shows, in one sentence: which row is ahead, by how much, and whether a test tells the rows apart."""

from collections.abc import Sequence

from aoft_bench.results.ranking import rounded
from aoft_bench.results.rows import Row, means
from aoft_bench.results.settings import Comparison
from aoft_bench.results.statistics import (
    ALPHA,
    MIN_METHODS,
    MIN_TASKS,
    TOO_FEW_TASKS,
    Pool,
    compare_ranks,
    not_comparable,
    paired,
    pool_of,
)
from aoft_bench.results.statistics_table import p_value


def main_of(comparisons: Sequence[Comparison]) -> Comparison:
    """The setting to look at first: rows that stand before none, more records before fewer, then the given order."""
    return max(comparisons, key=lambda one: (bool(one.standing), len(one.ranked().records)))


def finding(comparison: Comparison) -> str:
    """The sentence on a setting; of its rows that stand, or of all where none does.

    The best row and the next by the mean over tasks, and the best AOFT row beside the best other one. Two rows are said
    to be told apart only where a test of docs/tables.md says so: Friedman's and Nemenyi's of the average ranks, and
    for AOFT Wilcoxon's with Holm's correction.
    """
    ranked = comparison.ranked()
    pool = pool_of(ranked)
    if len(pool.rows) < 2:
        return f"{len(pool.rows)} of {len(ranked.rows)} rows have all tasks, so that no row can be called ahead."
    mean = {row.label: means(row.scores, pool.tasks)[0] or 0.0 for row in pool.rows}
    ordered = sorted(pool.rows, key=lambda row: -mean[row.label])
    best, second = ordered[:2]
    parts = [
        f"{best.label} has the highest {_over(ranked, pool)}, {rounded(mean[best.label])} %, "
        f"{_ahead(mean, best, second)}{_by_ranks(pool, best, second)}"
    ]
    ours = [row for row in ordered if row.is_aoft]
    others = [row for row in ordered if row not in ours]
    if ours and others and {ours[0].label, others[0].label} != {best.label, second.label}:
        parts.append(_ours(ranked, mean, ours, others[0]))
    if (reason := not_comparable(pool)) == TOO_FEW_TASKS:
        n = len(pool.tasks)
        parts.append(f"no test tells rows apart on {n} task{'s' * (n > 1)}, it takes {MIN_TASKS}")
    elif reason:
        parts.append(f"no test of all ranks: {reason}" + f", it takes {MIN_METHODS}" * (len(pool.rows) < MIN_METHODS))
    return f"{'; '.join(parts)}."


def _over(comparison: Comparison, pool: Pool) -> str:
    if len(pool.tasks) == 1:
        return f"top-1 on {comparison.header(pool.tasks[0])}"
    return f"mean over {len(pool.tasks)} tasks{'*' if comparison.unofficial else ''}"


def _ahead(mean: dict[str, float], first: Row, second: Row) -> str:
    """By how much `first` is ahead of `second`, as printed."""
    if rounded(mean[first.label]) == rounded(mean[second.label]):
        return f"as has {second.label}"
    return f"{rounded(mean[first.label] - mean[second.label])} points above {second.label}"


def _by_ranks(pool: Pool, first: Row, second: Row) -> str:
    if not_comparable(pool):
        return ""
    found = compare_ranks(pool)
    assert found.cd is not None and found.p_value is not None
    ranks = dict(zip(found.methods, found.ranks, strict=True))
    apart = found.p_value < ALPHA and ranks[second.label] - ranks[first.label] > found.cd
    return f" ({'' if apart else 'not '}told apart by their average ranks)"


def _ours(comparison: Comparison, mean: dict[str, float], ours: Sequence[Row], other: Row) -> str:
    """The best AOFT row beside the best other one."""
    best = ours[0]
    difference = mean[best.label] - mean[other.label]
    if rounded(difference) == "0.0":
        beside = f"level with {other.label}"
    else:
        beside = f"{rounded(abs(difference))} points {'above' if difference > 0 else 'below'} {other.label}"
    if best.trained and other.trained:
        beside += f" with {_share(best.trained / other.trained)} of its trained parameters"
    among = f", the best of {len(ours)} AOFT rows," if len(ours) > 1 else ""
    return f"{best.label}{among} is {beside}{_by_pairs(comparison, best, other)}"


def _by_pairs(comparison: Comparison, first: Row, second: Row) -> str:
    """What Wilcoxon's test says of the two; nothing where there are too few tasks."""
    if len(pool_of(comparison).tasks) < MIN_TASKS:
        return ""
    (pair,) = [p for p in paired(comparison) if (p.first, p.second) == (first.label, second.label)]
    if pair.holm is None:
        return f" (no test: {pair.reason})"
    apart = pair.holm < ALPHA and (pair.wins > pair.losses) == (pair.difference > 0)
    return f" ({'' if apart else 'not '}told apart, Holm p {p_value(pair.holm)})"


def _share(part: float) -> str:
    """A share in %, to two digits; how many times where it is 1.5 and more."""
    if part >= 1.5:
        return f"{part:.2g} times" if part < 100 else f"{part:,.0f} times"
    return f"{100 * part:.2g} %" if part < 0.995 else f"{100 * part:.0f} %"
