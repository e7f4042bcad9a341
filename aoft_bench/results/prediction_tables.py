"""Tables made from the predictions of each image: calibration, classes, agreement of seeds, AOFT against each."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from aoft_bench.results.calibration import BINS, brier, negative_log_likelihood, reliability, top5
from aoft_bench.results.image_statistics import (
    agreement,
    averaged,
    confusion,
    difference_interval,
    majority,
    mcnemar,
    twice_the_median,
)
from aoft_bench.results.kept import RowPredictions
from aoft_bench.results.ranking import rounded
from aoft_bench.results.settings import Comparison
from aoft_bench.results.statistics import RESAMPLES, Interval, holm
from aoft_bench.results.statistics_table import interval_entry, p_value
from aoft_bench.results.table import NOT_AVAILABLE, Block, Column, Entry, Table, make_block, number_entry

Values = Sequence[float | None]
_RowT = TypeVar("_RowT")


@dataclass(frozen=True)
class _Summary:
    """What the tables print of a row on one dataset, so that its predictions need not stay in memory. Lists have one
    value a run."""

    label: str
    seeds: list[int]
    top1: list[float]
    top5: Values
    nll: list[float]
    brier: list[float]
    ece: list[float]
    by_class: np.ndarray
    confused: np.ndarray
    agree: float | None
    majority: float
    averaged: float | None


@dataclass(frozen=True)
class _Pair:
    """An AOFT row against another one on one dataset. seeds: those that both have; only_*: % of images that only one
    of the two has right; p_value: McNemar's, of all seeds; holm: corrected for all rows that the AOFT row meets."""

    first: str
    second: str
    seeds: list[int]
    difference: float
    interval: Interval
    p_value: float
    same: float | None
    only_first: float
    only_second: float
    neither: float
    majority: float
    averaged: float | None
    holm: float | None = None


def prediction_tables(comparison: Comparison) -> list[Table]:
    """The tables of a comparison, with a block for each dataset; none where no predictions are here. Those of one
    dataset are in memory at a time."""
    rows: dict[str, list[_Summary]] = {}
    pairs: dict[str, list[_Pair]] = {}
    for dataset in comparison.datasets:
        if found := comparison.kept.of_dataset(comparison.rows, dataset):
            rows[dataset] = [_summary(one) for one in found]
            if against := _pairs(found):
                pairs[dataset] = against
    if not rows:
        return []
    every = comparison.records
    lacking = sum(not comparison.kept.has(record) for record in every)
    notes = [f"{lacking:,} of {len(every):,} records have no predictions here."] if lacking else []
    tables = [replace(_calibration(comparison, rows), notes=notes), _by_class(comparison, rows)]
    if several := {name: kept for name, some in rows.items() if (kept := [one for one in some if len(one.seeds) > 1])}:
        tables.append(_of_seeds(comparison, several))
    return [*tables, _of_pairs(comparison, pairs)] if pairs else tables


def _summary(one: RowPredictions) -> _Summary:
    confused = confusion(one.runs, one.classes)
    images = confused.sum(1)
    by_class = 100 * confused.diagonal() / np.where(images, images, 1)
    by_class[images == 0] = np.nan
    return _Summary(
        label=one.row.label,
        seeds=one.seeds,
        top1=[100 * float(run.correct.mean()) for run in one.runs],
        top5=[top5(run) for run in one.runs],
        nll=[negative_log_likelihood(run) for run in one.runs],
        brier=[brier(run) for run in one.runs],
        ece=[reliability(run).ece for run in one.runs],
        by_class=by_class,
        confused=confused,
        agree=agreement(one.runs),
        majority=majority(one.runs),
        averaged=averaged(one.runs),
    )


def _pairs(found: Sequence[RowPredictions]) -> list[_Pair]:
    """Every row of an AOFT method against every row of another method, over the seeds that both have."""
    pairs = []
    for ours in (one for one in found if one.row.family.startswith("aoft")):
        some = []
        for other in (one for one in found if not one.row.family.startswith("aoft")):
            if common := [seed for seed in ours.seeds if seed in other.seeds]:
                some.append(_pair(ours.of(common), other.of(common)))
        corrected = holm([pair.p_value for pair in some])
        pairs += [replace(pair, holm=value) for pair, value in zip(some, corrected, strict=True)]
    return pairs


def _pair(ours: RowPredictions, other: RowPredictions) -> _Pair:
    first, second = ours.correct, other.correct
    p_values = [mcnemar(a, b) for a, b in zip(first, second, strict=True)]
    both = [*ours.runs, *other.runs]
    return _Pair(
        first=ours.row.label,
        second=other.row.label,
        seeds=ours.seeds,
        difference=100 * float(first.mean() - second.mean()),
        interval=difference_interval(first, second, seeds=False),
        p_value=twice_the_median(p_values),
        same=agreement(ours.runs, other.runs),
        only_first=100 * float((first & ~second).mean()),
        only_second=100 * float((second & ~first).mean()),
        neither=100 * float((~first & ~second).mean()),
        majority=majority(both),
        averaged=averaged(both),
    )


def _calibration(comparison: Comparison, rows: dict[str, list[_Summary]]) -> Table:
    columns: list[Column[_Summary]] = [
        Column("method", lambda one: Entry(one.label), text=True),
        Column("top-1", lambda one: _over_seeds(one.top1, one.seeds, 1)),
        Column("top-5", lambda one: _over_seeds(one.top5, one.seeds, 1)),
        Column("NLL", lambda one: _over_seeds(one.nll, one.seeds, 3)),
        Column("Brier", lambda one: _over_seeds(one.brier, one.seeds, 3)),
        Column("ECE", lambda one: _over_seeds(one.ece, one.seeds, 2)),
        Column("seeds", lambda one: Entry(str(len(one.seeds)), len(one.seeds))),
    ]
    caption = (
        "Mean ± standard deviation over seeds. Top-5 in %, where logits were kept; NLL: mean of -ln p of the true "
        "class, in nats; Brier: squared error of all class probabilities, 0 to 2; ECE in %: expected calibration error "
        f"of the predicted class, {BINS} bins of equal width. Of NLL, Brier and ECE less is better"
    )
    return _table(comparison, "Calibration", caption, columns, rows)


def _by_class(comparison: Comparison, rows: dict[str, list[_Summary]]) -> Table:
    def confused(one: _Summary) -> Entry:
        errors = one.confused - np.diag(one.confused.diagonal())
        true, predicted = np.unravel_index(int(errors.argmax()), errors.shape)
        if not errors[true, predicted]:
            return Entry("none")
        share = 100 * float(errors[true, predicted] / one.confused[true].sum())
        return Entry(f"{true} as {predicted} ({rounded(share)} %)", share)

    def at(one: _Summary, index: int) -> Entry:
        return Entry(f"{index} ({rounded(float(one.by_class[index]))})", float(one.by_class[index]))

    columns: list[Column[_Summary]] = [
        Column("method", lambda one: Entry(one.label), text=True),
        Column("mean of classes", lambda one: number_entry(float(np.nanmean(one.by_class)))),
        Column("lowest class", lambda one: at(one, int(np.nanargmin(one.by_class))), text=True),
        Column("highest class", lambda one: at(one, int(np.nanargmax(one.by_class))), text=True),
        Column("confused most", confused, text=True),
    ]
    caption = (
        "Accuracy by class in %, over all seeds together: its mean over the classes that have images (each class "
        "counts the same), the lowest and the highest, by number of the class from 0; and the true class that is most "
        "often taken for one other class, with the share of its images"
    )
    return _table(comparison, "Classes", caption, columns, rows)


def _of_seeds(comparison: Comparison, rows: dict[str, list[_Summary]]) -> Table:
    columns: list[Column[_Summary]] = [
        Column("method", lambda one: Entry(one.label), text=True),
        Column("seeds", lambda one: Entry(str(len(one.seeds)), len(one.seeds))),
        Column("mean top-1", lambda one: number_entry(statistics.fmean(one.top1))),
        Column("seeds agree", lambda one: number_entry(one.agree)),
        Column("majority", lambda one: number_entry(one.majority)),
        Column("averaged", lambda one: number_entry(one.averaged, absent=NOT_AVAILABLE)),
    ]
    caption = (
        "Seeds together. Seeds agree: % of images of which two seeds predict the same class, mean over pairs of seeds. "
        "Top-1 in % of ensembles of all seeds: the class that most predict (of several, the one with the largest "
        "summed confidence), and the mean of their probabilities, where logits were kept"
    )
    return _table(comparison, "Seeds together", caption, columns, rows)


def _of_pairs(comparison: Comparison, pairs: dict[str, list[_Pair]]) -> Table:
    def number(name: str, value: Callable[[_Pair], float | None]) -> Column[_Pair]:
        return Column(name, lambda pair: number_entry(value(pair), absent=NOT_AVAILABLE))

    def p_column(name: str, value: Callable[[_Pair], float | None]) -> Column[_Pair]:
        def entry(pair: _Pair) -> Entry:
            found = value(pair)
            return NOT_AVAILABLE if found is None else Entry(p_value(found), found)

        return Column(name, entry, text=True)

    columns: list[Column[_Pair]] = [
        Column("AOFT", lambda pair: Entry(pair.first), text=True),
        Column("against", lambda pair: Entry(pair.second), text=True),
        Column("seeds", lambda pair: Entry(str(len(pair.seeds)), len(pair.seeds))),
        number("difference", lambda pair: pair.difference),
        Column("95 %, images", lambda pair: interval_entry(pair.interval), text=True),
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
        f"points, with the percentile interval of {RESAMPLES:,} paired bootstrap samples of the images: of these "
        "trained models, not of other seeds. McNemar's exact test of each seed's pair of models, two-sided, as twice "
        "the median p of the seeds; Holm: corrected for all rows that one AOFT row meets on a dataset. Same class, "
        "only one right, both wrong: % of images, mean over seeds. Majority, averaged: top-1 of an ensemble of all "
        "runs of both"
    )
    return _table(comparison, "AOFT against each, over images", caption, columns, pairs)


def _table(
    comparison: Comparison,
    name: str,
    caption: str,
    columns: list[Column[_RowT]],
    rows: dict[str, list[_RowT]],
) -> Table:
    blocks: list[Block] = [make_block(columns, some, comparison.header(dataset)) for dataset, some in rows.items()]
    title = f"{name}: {comparison.title}"
    return Table(title, caption, columns, blocks, (), comparison.setting.as_columns())


def _over_seeds(values: Values, seeds: Sequence[int], digits: int) -> Entry:
    """The mean over seeds with its standard deviation, both with so many digits."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return NOT_AVAILABLE
    spread = rounded(statistics.stdev(numbers), digits) if len(numbers) > 1 else ""
    mean = statistics.fmean(numbers)
    return Entry(rounded(mean, digits), mean, tuple(numbers), tuple(seeds), spread)
