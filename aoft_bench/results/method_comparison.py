"""Whether one method is better than another on a dataset, image by image: the answer of `aoft-bench compare`."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aoft_bench.records.predictions import Predictions
from aoft_bench.results.image_statistics import difference_variances, mcnemar, t_interval, twice_the_median
from aoft_bench.results.ranking import rounded
from aoft_bench.results.statistics import ALPHA
from aoft_bench.results.statistics_table import p_value
from aoft_bench.utils.errors import UserError


@dataclass(frozen=True)
class Side:
    """A or B: its name, and what its runs predicted of the same images, one run a seed."""

    name: str
    seeds: list[int]
    runs: list[Predictions]

    @property
    def correct(self) -> np.ndarray:
        """(seeds, N) bool."""
        return np.stack([run.correct for run in self.runs])

    @property
    def top1(self) -> str:
        """Mean and standard deviation over seeds in %, as they are printed."""
        values = [100 * float(run.correct.mean()) for run in self.runs]
        spread = f" ± {rounded(statistics.stdev(values), 2)}" if len(values) > 1 else ""
        return f"{rounded(statistics.fmean(values), 2)}{spread} %"


def answer(a: Side, b: Side, dataset: str, setting: str, split: str) -> list[str]:
    """Five lines: what is compared, the difference with its interval, McNemar's test, what both assume, the answer.

    setting: in words. A is called better only if both McNemar's test and the interval say
    so at the level `ALPHA`. Raises `UserError` if the labels of A and B differ: then their images do.
    """
    if not np.array_equal(a.runs[0].label, b.runs[0].label):
        raise UserError(f"{a.name} and {b.name} were scored on other images, so they cannot be paired; give two of one")
    several = len(a.seeds) > 1 or len(b.seeds) > 1
    difference = 100 * float(a.correct.mean() - b.correct.mean())
    interval = t_interval(difference, difference_variances(a.correct, b.correct))
    pairs, how = _pairs(a, b)
    tests = [mcnemar(first, second, difference) for first, second in pairs]
    p = twice_the_median(tests)
    only_a, only_b = (100 * statistics.fmean(map(float, shares)) for shares in _only(pairs))
    images = len(a.runs[0])
    together = f"p {p_value(p)}" if len(tests) == 1 else f"p {p_value(p)}, twice the median of {_listed(tests)}"
    return [
        f"{a.name} against {b.name} on {dataset} ({setting}): {images:,} {split} images; {_seeds(a)}, {_seeds(b)}",
        f"Top-1 {a.top1} against {b.top1}: {_signed(difference)} points, 95 % interval {_signed(interval.low)} to "
        f"{_signed(interval.high)} (Student's t over images{' and seeds' * several})",
        f"McNemar's exact test, two-sided{how}: {together}; only {a.name} is right on {rounded(only_a)} % of the "
        f"images, only {b.name} on {rounded(only_b)} %",
        "Assumed: images are drawn independently; McNemar's test takes the trained models as they are; "
        f"{_of_seeds(a, b)}",
        _verdict(a, b, dataset, p, interval.low, interval.high),
    ]


def _pairs(a: Side, b: Side) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """Which runs McNemar's test takes together, and that in words: of equal seeds, or in order where none are equal."""
    if common := [seed for seed in a.seeds if seed in b.seeds]:
        found = [(a.runs[a.seeds.index(seed)].correct, b.runs[b.seeds.index(seed)].correct) for seed in common]
        return found, f", for each of the {len(common)} seeds that both have" if len(common) > 1 else ""
    pairs = [(one.correct, other.correct) for one, other in zip(a.runs, b.runs, strict=False)]
    return pairs, f", the runs paired in order since no seed is the same ({len(pairs)})"


def _only(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[list[float], list[float]]:
    """Of each pair, on which share of the images only the first is right, and only the second."""
    return [float((x & ~y).mean()) for x, y in pairs], [float((y & ~x).mean()) for x, y in pairs]


def _of_seeds(a: Side, b: Side) -> str:
    """What the number of seeds means for the answer."""
    fewest = min(len(a.seeds), len(b.seeds))
    if fewest == 1 and len(a.seeds) == len(b.seeds):
        return "with one seed each, the answer is on these two models, not on the methods"
    if fewest == 1:
        return "one side has one seed, whose own variation the interval lacks"
    return "the seeds of each method are independent draws from a normal distribution"


def _verdict(a: Side, b: Side, dataset: str, p: float, low: float | None, high: float | None) -> str:
    assert low is not None and high is not None
    level = f"at the level of {100 * ALPHA:g} %"
    if p < ALPHA and low > 0:
        return f"Yes: {a.name} is better than {b.name} on {dataset}, by the test and the interval {level}"
    if p < ALPHA and high < 0:
        return f"No: {b.name} is better than {a.name} on {dataset}, by the test and the interval {level}"
    says = [name for name, found in (("McNemar's test", p < ALPHA), ("the interval", low > 0 or high < 0)) if found]
    why = f"only {says[0]} tells them apart" if says else "neither the test nor the interval tells them apart"
    return f"Not shown: {why} {level}"


def _seeds(side: Side) -> str:
    return f"{side.name} with seed{'s' * (len(side.seeds) > 1)} {', '.join(map(str, side.seeds))}"


def _listed(p_values: Sequence[float]) -> str:
    return ", ".join(map(p_value, p_values))


def _signed(value: float | None) -> str:
    assert value is not None  # there are images
    text = rounded(value, 2)
    return text if text.startswith("-") else f"+{text}"
