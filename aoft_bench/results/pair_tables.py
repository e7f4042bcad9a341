"""AOFT against each other method, from the predictions of each image: by dataset, and over all datasets."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from aoft_bench.results.image_statistics import (
    agreement,
    averaged,
    difference_variances,
    majority,
    mcnemar,
    t_interval,
    twice_the_median,
)
from aoft_bench.results.kept import RowPredictions
from aoft_bench.results.settings import Comparison
from aoft_bench.results.statistics import ALPHA, Interval, holm
from aoft_bench.results.statistics_table import interval_entry, p_value
from aoft_bench.results.table import NOT_AVAILABLE, Block, Column, Entry, Table, make_block, number_entry

_RowT = TypeVar("_RowT")


@dataclass(frozen=True)
class MethodPair:
    """An AOFT row against another one on one dataset.

    seeds: those that both have; variances: parts of that of the difference, see `difference_variances`; only_*: % of
    images that only one of the two has right; p_value: McNemar's, of all seeds; holm: corrected for all rows that the
    AOFT row meets.
    """

    first: str
    second: str
    seeds: list[int]
    difference: float
    variances: list[tuple[float, int]]
    p_value: float
    same: float | None
    only_first: float
    only_second: float
    neither: float
    majority: float
    averaged: float | None
    holm: float | None = None

    @property
    def interval(self) -> Interval:
        """Of the difference, over images and seeds."""
        return t_interval(self.difference, self.variances)


@dataclass(frozen=True)
class _Over:
    """An AOFT row against another one over the datasets on which both have predictions; the pairs of these."""

    pairs: list[MethodPair]

    @property
    def difference(self) -> float:
        """Mean over the datasets, in points."""
        return statistics.fmean(pair.difference for pair in self.pairs)

    @property
    def interval(self) -> Interval:
        """Of the mean over these datasets: the errors of the datasets are independent."""
        parts = [(value / len(self.pairs) ** 2, degrees) for pair in self.pairs for value, degrees in pair.variances]
        return t_interval(self.difference, parts)

    @property
    def told_apart(self) -> list[MethodPair]:
        """The datasets on which McNemar's test with Holm's correction tells the two apart."""
        return [pair for pair in self.pairs if pair.holm is not None and pair.holm < ALPHA]


def pair_tables(comparison: Comparison, pairs: dict[str, list[MethodPair]]) -> list[Table]:
    """The pairs of each dataset, and over the datasets where there are several; none without pairs."""
    if not pairs:
        return []
    over: dict[tuple[str, str], list[MethodPair]] = defaultdict(list)
    for some in pairs.values():
        for pair in some:
            over[pair.first, pair.second].append(pair)
    several = [_Over(some) for some in over.values() if len(some) > 1]
    return [_by_dataset(comparison, pairs), *([_over_datasets(comparison, several)] if several else [])]


def pairs_of(found: Sequence[RowPredictions]) -> list[MethodPair]:
    """Every row of an AOFT method against every row of another method, over the seeds that both have."""
    pairs = []
    for ours in (one for one in found if one.row.is_aoft):
        some = []
        for other in (one for one in found if not one.row.is_aoft):
            if common := [seed for seed in ours.seeds if seed in other.seeds]:
                some.append(_pair(ours.of(common), other.of(common)))
        corrected = holm([pair.p_value for pair in some])
        pairs += [replace(pair, holm=value) for pair, value in zip(some, corrected, strict=True)]
    return pairs


def _pair(ours: RowPredictions, other: RowPredictions) -> MethodPair:
    first, second = ours.correct, other.correct
    difference = 100 * float(first.mean() - second.mean())
    p_values = [mcnemar(a, b, difference) for a, b in zip(first, second, strict=True)]
    both = [*ours.runs, *other.runs]
    return MethodPair(
        first=ours.row.label,
        second=other.row.label,
        seeds=ours.seeds,
        difference=difference,
        variances=difference_variances(first, second),
        p_value=twice_the_median(p_values),
        same=agreement(ours.runs, other.runs),
        only_first=100 * float((first & ~second).mean()),
        only_second=100 * float((second & ~first).mean()),
        neither=100 * float((~first & ~second).mean()),
        majority=majority(both),
        averaged=averaged(both),
    )


def _over_datasets(comparison: Comparison, rows: list[_Over]) -> Table:
    def count(name: str, number: Callable[[_Over], int]) -> Column[_Over]:
        return Column(name, lambda over: Entry(str(number(over)), number(over)))

    columns: list[Column[_Over]] = [
        Column("AOFT", lambda over: Entry(over.pairs[0].first), text=True),
        Column("against", lambda over: Entry(over.pairs[0].second), text=True),
        count("datasets", lambda over: len(over.pairs)),
        Column("difference", lambda over: number_entry(over.difference)),
        Column("95 %, images and seeds", lambda over: interval_entry(over.interval), text=True),
        count("AOFT better", lambda over: sum(pair.difference > 0 for pair in over.told_apart)),
        count("AOFT worse", lambda over: sum(pair.difference < 0 for pair in over.told_apart)),
        count("not told apart", lambda over: len(over.pairs) - len(over.told_apart)),
        Column("same class", lambda over: number_entry(_mean_agreement(over), absent=NOT_AVAILABLE)),
    ]
    caption = (
        "AOFT rows against every other row over the datasets on which both have predictions. Difference of top-1 in "
        "points, mean over these datasets, with its interval: Student's t of its variance over images and seeds (Welch "
        "and Satterthwaite), the datasets as they are. AOFT better, worse: on how many datasets McNemar's test with "
        f"Holm's correction tells the two apart at {100 * ALPHA:g} %. Same class: % of images, mean over datasets"
    )
    title = f"AOFT against each, over datasets: {comparison.title}"
    return Table(title, caption, columns, [make_block(columns, rows)], (), comparison.setting.as_columns())


def _mean_agreement(over: _Over) -> float | None:
    same = [pair.same for pair in over.pairs if pair.same is not None]
    return statistics.fmean(same) if same else None


def _by_dataset(comparison: Comparison, pairs: dict[str, list[MethodPair]]) -> Table:
    def number(name: str, value: Callable[[MethodPair], float | None]) -> Column[MethodPair]:
        return Column(name, lambda pair: number_entry(value(pair), absent=NOT_AVAILABLE))

    def p_column(name: str, value: Callable[[MethodPair], float | None]) -> Column[MethodPair]:
        def entry(pair: MethodPair) -> Entry:
            found = value(pair)
            return NOT_AVAILABLE if found is None else Entry(p_value(found), found)

        return Column(name, entry, text=True)

    columns: list[Column[MethodPair]] = [
        Column("AOFT", lambda pair: Entry(pair.first), text=True),
        Column("against", lambda pair: Entry(pair.second), text=True),
        Column("seeds", lambda pair: Entry(str(len(pair.seeds)), len(pair.seeds))),
        number("difference", lambda pair: pair.difference),
        Column("95 %, images and seeds", lambda pair: interval_entry(pair.interval), text=True),
        p_column("McNemar p", lambda pair: pair.p_value),
        p_column("Holm p", lambda pair: pair.holm),
        number("same class", lambda pair: pair.same),
        number("only AOFT right", lambda pair: pair.only_first),
        number("only other right", lambda pair: pair.only_second),
        number("both wrong", lambda pair: pair.neither),
        number("majority", lambda pair: pair.majority),
        number("averaged", lambda pair: pair.averaged),
    ]
    caption = (
        "AOFT rows against every other row, image by image, over the seeds that both have. Difference of mean top-1 in "
        "points, with its interval: Student's t of its variance over images and seeds. McNemar's exact test of each "
        "seed's pair of models, two-sided, as twice the median p of the seeds, where a pair that differs the other "
        "way than the mean has p = 1; Holm: corrected for all rows that one AOFT row meets on a dataset. Same "
        "class, only one right, both wrong: % of images, mean over seeds. Majority, averaged: top-1 of an ensemble of "
        "all runs of both"
    )
    return table_of(comparison, "AOFT against each, by dataset", caption, columns, pairs)


def table_of(
    comparison: Comparison,
    name: str,
    caption: str,
    columns: list[Column[_RowT]],
    rows: dict[str, list[_RowT]],
) -> Table:
    """A table of a comparison with a block for each dataset."""
    blocks: list[Block] = [make_block(columns, some, comparison.header(dataset)) for dataset, some in rows.items()]
    title = f"{name}: {comparison.title}"
    return Table(title, caption, columns, blocks, (), comparison.setting.as_columns())
