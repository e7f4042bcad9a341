"""Tables made from the predictions of each image: calibration, classes, agreement of seeds; and those of pairs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from aoft_bench.results.calibration import BINS, brier, negative_log_likelihood, reliability, top5
from aoft_bench.results.image_statistics import (
    agreement,
    averaged,
    confusion,
    majority,
)
from aoft_bench.results.kept import RowPredictions
from aoft_bench.results.pair_tables import MethodPair, pair_tables, pairs_of, table_of
from aoft_bench.results.ranking import rounded
from aoft_bench.results.settings import Comparison
from aoft_bench.results.table import NOT_AVAILABLE, Column, Entry, Table, number_entry

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


def prediction_tables(comparison: Comparison) -> list[Table]:
    """The tables of a comparison, with a block for each dataset; none where no predictions are here. Those of one
    dataset are in memory at a time."""
    rows: dict[str, list[_Summary]] = {}
    pairs: dict[str, list[MethodPair]] = {}
    for dataset in comparison.datasets:
        if found := comparison.kept.of_dataset(comparison.rows, dataset):
            rows[dataset] = [_summary(one) for one in found]
            if against := pairs_of(found):
                pairs[dataset] = against
    if not rows:
        return []
    every = comparison.records
    lacking = sum(not comparison.kept.has(record) for record in every)
    notes = [f"{lacking:,} of {len(every):,} records have no predictions here."] if lacking else []
    tables = [replace(_calibration(comparison, rows), notes=notes), _by_class(comparison, rows)]
    if several := {name: kept for name, some in rows.items() if (kept := [one for one in some if len(one.seeds) > 1])}:
        tables.append(_of_seeds(comparison, several))
    return [*tables, *pair_tables(comparison, pairs)]


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
    return table_of(comparison, "Calibration", caption, columns, rows)


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
    return table_of(comparison, "Classes", caption, columns, rows)


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
    return table_of(comparison, "Seeds together", caption, columns, rows)


def _over_seeds(values: Values, seeds: Sequence[int], digits: int) -> Entry:
    """The mean over seeds with its standard deviation, both with so many digits."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return NOT_AVAILABLE
    spread = rounded(statistics.stdev(numbers), digits) if len(numbers) > 1 else ""
    mean = statistics.fmean(numbers)
    return Entry(rounded(mean, digits), mean, tuple(numbers), tuple(seeds), spread)
