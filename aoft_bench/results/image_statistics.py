"""Statistics over images: two methods on the same images, where they agree, and what they give together.

They say something about other images like these. The tests over tasks are in `results.statistics`.
"""

import statistics
from collections.abc import Sequence

import numpy as np

from aoft_bench.records.predictions import Predictions
from aoft_bench.results.statistics import ALPHA, Interval


def mcnemar(first: np.ndarray, second: np.ndarray, difference: float) -> float:
    """Two-sided p-value of McNemar's exact test of two models on the same images: (N,) bool, which are right.

    Of the images that only one of the two has right, as many should be right by either if the models are equally good:
    a binomial test with 1/2. It takes the models as they are and the images as independent.

    difference: of the mean accuracies of the two methods, over all seeds. The p-value is twice that of the tail in its
    direction, at most 1: where a pair of models differs the other way, it is no evidence for the difference.
    """
    from scipy.special import bdtr

    ahead, behind = (int(np.count_nonzero(only)) for only in (first > second, second > first))
    if difference < 0:
        ahead, behind = behind, ahead
    # `scipy.stats.binomtest` gives the same and takes 20 times as long
    return min(1.0, 2 * float(bdtr(behind, ahead + behind, 0.5))) if difference else 1.0


def twice_the_median(p_values: Sequence[float]) -> float:
    """One p-value for several tests of the same hypothesis, however they depend on one another (Rüger 1978).

    The tests of several seeds on the same images are far from independent, so their images must not be pooled.
    """
    return min(1.0, 2 * statistics.median(p_values)) if len(p_values) > 1 else p_values[0]


def difference_variances(first: np.ndarray, second: np.ndarray) -> list[tuple[float, int]]:
    """The parts of the variance of the difference of two mean accuracies, in points², each with its degrees of freedom.

    first, second: (seeds, N) bool, which images are right. The variance over images of the difference of the two means
    over seeds, divided by N, and for each method the variance over seeds of its accuracy, divided by their number; with
    one seed nothing is known of its own variation, and nothing is added. The first part is that of the images.
    """
    by_image = 100 * (first.mean(0) - second.mean(0))
    parts = [(float(by_image.var()) / len(by_image), max(1, len(by_image) - 1))]
    for runs in (first, second):
        if len(runs) > 1:
            parts.append((float((100 * runs.mean(1)).var(ddof=1)) / len(runs), len(runs) - 1))
    return parts


def t_interval(mean: float, variances: Sequence[tuple[float, int]]) -> Interval:
    """Interval at 95 % around a mean, in its unit, whose variance is the sum of some parts: Student's t.

    variances: (variance, its degrees of freedom) of each part. Together they have
    (Σ variance)² / Σ (variance² / degrees) degrees of freedom (Satterthwaite, Biometrics Bulletin 2:110, 1946; Welch,
    Biometrika 34:28, 1947).
    """
    from scipy.special import stdtrit

    total = sum(variance for variance, _ in variances)
    if not total:
        return Interval(mean, mean)
    degrees = total**2 / sum(variance**2 / own for variance, own in variances)
    half = float(stdtrit(degrees, 1 - ALPHA / 2)) * total**0.5
    return Interval(mean - half, mean + half)


def agreement(runs: Sequence[Predictions], others: Sequence[Predictions] | None = None) -> float | None:
    """In %, of how many images two runs predict the same class: the mean over run i and other i, or without others
    over all pairs of runs. None where there is no pair."""
    if others is not None:
        pairs = list(zip(runs, others, strict=True))
    else:
        pairs = [(one, other) for i, one in enumerate(runs) for other in runs[i + 1 :]]
    if not pairs:
        return None
    return 100 * statistics.fmean(float((one.predicted == other.predicted).mean()) for one, other in pairs)


def majority(runs: Sequence[Predictions]) -> float:
    """Top-1 in % of the class that most runs predict; of several, the one with the largest summed confidence."""
    predicted = np.stack([run.predicted for run in runs])
    chosen = predicted[0].copy()
    apart = np.flatnonzero((predicted != chosen).any(0))  # only there runs vote
    predicted = predicted[:, apart]
    # all confidences together are below one vote
    votes = [1 + run.confidence[apart] / np.float32(len(runs) + 1) for run in runs]
    # (runs, images): the votes for the class that a run predicts
    sums = [sum((own == other) * vote for other, vote in zip(predicted, votes, strict=True)) for own in predicted]
    chosen[apart] = np.take_along_axis(predicted, np.argmax(sums, axis=0)[None], 0)[0]
    return 100 * float((chosen == runs[0].label).mean())


def averaged(runs: Sequence[Predictions]) -> float | None:
    """Top-1 in % of the mean of the runs' probabilities; None where one of them has no logits."""
    total: np.ndarray | None = None
    for run in runs:
        if run.logits is None:
            return None
        shifted = np.exp(run.logits.astype(np.float32) - run.logits.max(1, keepdims=True).astype(np.float32))
        p = shifted / shifted.sum(1, keepdims=True)
        total = p if total is None else total + p
    assert total is not None
    return 100 * float((total.argmax(1) == runs[0].label).mean())


def confusion(runs: Sequence[Predictions], classes: int) -> np.ndarray:
    """(classes, classes) of the true and the predicted class: numbers of images, summed over runs."""
    counts = np.zeros(classes * classes, np.int64)
    for run in runs:
        counts += np.bincount(run.label.astype(np.int64) * classes + run.predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)
