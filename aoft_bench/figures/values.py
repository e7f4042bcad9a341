"""The numbers that figures show, from the rows of a comparison."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aoft_bench.records.schema import Record
from aoft_bench.results.kept import Kept
from aoft_bench.results.published import PublishedRow, beside
from aoft_bench.results.rows import Row, means
from aoft_bench.results.settings import Comparison
from aoft_bench.results.statistics import pool_of

NO_PREDICTIONS = "no predictions"  # stay on the machine that made the records, but for those of results/shipped


class NothingToDrawError(Exception):
    """A figure would show nothing. The text is the reason, in a few words."""


def by_seed(row: Row, dataset: str) -> dict[int, float]:
    """Top-1 in % of a row on a dataset, seed -> value; empty where it is missing."""
    return dict(zip(row.seeds(dataset), row.cells.get(dataset, []), strict=True))


def mean_and_spread(row: Row, datasets: list[str]) -> tuple[float, float]:
    """(flat mean over datasets, its standard deviation over the seeds that all have, 0 with one) in %."""
    mean, _ = means(row.scores, datasets)
    assert mean is not None
    per_dataset = [by_seed(row, name) for name in datasets]
    common = sorted(set(per_dataset[0]).intersection(*per_dataset))
    per_seed = [statistics.fmean(values[seed] for values in per_dataset) for seed in common]
    return mean, statistics.stdev(per_seed) if len(per_seed) > 1 else 0.0


def gains(row: Row, baseline: Row, datasets: list[str]) -> dict[str, list[float]]:
    """Top-1 of `row` minus that of `baseline` in points, dataset -> one value a seed that both have."""
    found = {}
    for name in datasets:
        ours, theirs = by_seed(row, name), by_seed(baseline, name)
        if common := sorted(set(ours) & set(theirs)):
            found[name] = [ours[seed] - theirs[seed] for seed in common]
    return found


def pareto_front(points: list[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, accuracy) points that no other one beats or equals at no more cost, by cost."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def curves(row: Row, dataset: str, key: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The curves, (seeds, epochs), of all records that have one with a value an epoch; (0, 0) where there is none."""
    found = []
    for record in row.records:
        values = record["curves"].get(key) if record["dataset"] == dataset else None
        if values and len(values) == record["config"]["recipe"]["epochs"]:
            found.append(values)
    return np.array(found, dtype=np.float64) if found else np.empty((0, 0))


def cost(row: Row, key: str) -> list[float]:
    """A cost of all records of a row that have it as a positive number."""
    values = [record["cost"].get(key) for record in row.records]
    return [float(value) for value in values if value]


def hardware(record: Record) -> str:
    """The hardware of a record in words; empty where it names none."""
    machine = record["hardware"]
    if machine.get("gpu"):
        count = machine.get("processes") or 1
        return f"{count} x {machine['gpu']}" if count > 1 else str(machine["gpu"])
    if not machine.get("cpu"):
        return ""
    threads = machine.get("threads")
    used = f", {threads} thread{'s' * (threads != 1)}" if threads else ""
    return f"{machine['cpu']}, {machine.get('cores')} cores{used}"


def without_records(comparison: Comparison) -> Comparison:
    """The same rows and cells, small enough to be sent to another process."""
    return replace(comparison, rows=[replace(row, records=[]) for row in comparison.rows], kept=Kept(), smaller=())


def accuracy_label(comparison: Comparison) -> str:
    """Of an axis: which accuracy, over what."""
    names = pool_of(comparison).tasks
    if len(names) == 1:
        return f"{comparison.setting.split} top-1 on {comparison.header(names[0])} (%)"
    return f"{comparison.setting.split} top-1, mean of {len(names)} tasks{'*' if comparison.unofficial else ''} (%)"


def complete(comparison: Comparison) -> list[tuple[Row, float, float]]:
    """(row, mean, spread) of the rows that have all datasets that any has; `NothingToDrawError` for fewer than two."""
    pool = pool_of(comparison)
    if len(comparison.rows) < 2:
        raise NothingToDrawError("one method only")
    if len(pool.rows) < 2:
        raise NothingToDrawError(
            f"{len(pool.rows)} of {len(comparison.rows)} methods have all {len(pool.tasks)} datasets"
        )
    return [(row, *mean_and_spread(row, pool.tasks)) for row in pool.rows]


def published_points(comparison: Comparison, published: Sequence[PublishedRow]) -> list[tuple[float, float]]:
    """(trained parameters, flat mean in %) of the published rows of the same tasks and architecture.

    None beside data that is not official or not the test split: that is another benchmark. A row without cells counts
    with its printed mean where that is the flat mean of all tasks.
    """
    names = pool_of(comparison).tasks
    if comparison.unofficial or comparison.setting.split != "test":
        return []
    points = []
    for row in beside(published, comparison):
        mean = None
        if all(name in row.cells for name in names):
            mean = statistics.fmean(row.cells[name] for name in names)
        elif not row.cells and row.mean_kind == "mean19" and len(names) == len(comparison.datasets):
            mean = row.mean
        if mean is not None and row.params_m is not None:
            points.append((1e6 * row.params_m, mean))
    return points
