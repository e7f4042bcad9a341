"""Statistics over images against other libraries, and against slow and plain computations of the same."""

import numpy as np
import pytest
from prediction_cases import drawn
from scipy.stats import binomtest, ttest_ind
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score

from aoft_bench.records.predictions import Predictions
from aoft_bench.results.calibration import BINS, brier, negative_log_likelihood, reliability, top5
from aoft_bench.results.image_statistics import (
    agreement,
    averaged,
    confusion,
    difference_variances,
    majority,
    mcnemar,
    t_interval,
    twice_the_median,
)
from aoft_bench.results.statistics import Interval

KEPT = drawn(images=300, classes=8, logits=True)


def softmax(kept: Predictions) -> np.ndarray:
    assert kept.logits is not None
    p = np.exp(kept.logits.astype(np.float64))
    return p / p.sum(1, keepdims=True)


def given(label: list[int], predicted: list[int], confidence: list[float]) -> Predictions:
    right = np.array(label) == np.array(predicted)
    p = np.array(confidence, np.float32)
    return Predictions(np.array(label), np.array(predicted), p, np.where(right, p, 0).astype(np.float32), p * p)


def test_scores_of_probabilities_are_those_of_sklearn() -> None:
    p = softmax(KEPT)
    assert negative_log_likelihood(KEPT) == pytest.approx(log_loss(KEPT.label, p), abs=2e-4)  # logits of 16 bits
    truth = np.eye(8)[KEPT.label]
    assert brier(KEPT) == pytest.approx(((p - truth) ** 2).sum(1).mean(), abs=2e-4)
    assert top5(KEPT) == pytest.approx(100 * top_k_accuracy_score(KEPT.label, KEPT.logits, k=5))


def test_top5_needs_logits_and_more_than_five_classes() -> None:
    assert top5(drawn(images=20, classes=8)) is None
    assert top5(drawn(images=20, classes=5, logits=True)) is None


def test_a_probability_of_zero_has_a_finite_likelihood() -> None:
    assert negative_log_likelihood(given([0], [1], [1.0])) == pytest.approx(87.34, abs=0.01)


def test_calibration_error_is_the_weighted_gap_of_the_bins() -> None:
    kept = given([0, 0, 0, 0], [0, 1, 0, 1], [0.95, 0.95, 0.30, 1 / BINS])
    bins = reliability(kept)
    assert bins.images.tolist() == [1, 0, 0, 0, 1, *[0] * 9, 2]
    assert bins.ece == pytest.approx(100 * (2 * abs(0.5 - 0.95) + abs(1 - 0.3) + 1 / BINS) / 4, abs=1e-4)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (3, 9), (20, 41), (400, 470)])
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    first, second = np.array([1] * b + [0] * c + [1, 0], bool), np.array([0] * b + [1] * c + [1, 0], bool)
    expected = pytest.approx(binomtest(b, b + c).pvalue if b + c else 1, rel=1e-9)
    assert mcnemar(first, second, b - c) == mcnemar(second, first, c - b) == expected
    assert mcnemar(first, second, c - b) == 1  # the other way than the mean of all seeds


def test_seeds_that_contradict_the_mean_are_no_evidence_for_it() -> None:
    """Two seeds are ahead, and one has collapsed, so that the mean is behind: neither is better."""
    second = np.arange(1000) < 500
    first = np.stack([np.arange(1000) < 560, np.arange(1000) < 560, np.arange(1000) < 100])
    difference = float(first.mean() - second.mean())
    assert difference < 0
    assert twice_the_median([mcnemar(one, second, difference) for one in first]) == 1
    assert twice_the_median([mcnemar(one, second, 0.06) for one in first[:2]]) < 1e-15


def test_several_tests_count_as_twice_their_median() -> None:
    assert twice_the_median([0.04]) == 0.04
    assert twice_the_median([0.01, 0.02, 0.9]) == 0.04
    assert twice_the_median([0.6, 0.7]) == 1.0


def test_the_variance_is_that_of_a_bootstrap() -> None:
    """Of images, drawn one by one, and of seeds; drawing k of k seeds has (k - 1) / k of the unbiased variance."""
    first = np.stack([drawn(seed, 200, skill=2.0 + seed).correct for seed in range(3)])
    second = np.stack([drawn(seed, 200, skill=1.0 + seed).correct for seed in (7, 8)])
    generator = np.random.default_rng(1)
    images = generator.integers(200, size=(3000, 200))
    of_images = [100 * (first[:, some].mean() - second[:, some].mean()) for some in images]
    parts = difference_variances(first, second)
    assert parts[0] == (pytest.approx(np.var(of_images), rel=0.1), 199)
    for (variance, degrees), runs in zip(parts[1:], (first, second), strict=True):
        of_seeds = 100 * runs.mean(1)[generator.integers(len(runs), size=(3000, len(runs)))].mean(1)
        assert degrees == len(runs) - 1
        assert variance * degrees / len(runs) == pytest.approx(np.var(of_seeds), rel=0.1)
    assert difference_variances(first[:1], second[:1])[1:] == []


def test_a_model_does_not_differ_from_itself() -> None:
    run = KEPT.correct[None]
    found = t_interval(0.0, difference_variances(run, run))
    assert (found.low, found.high) == (0, 0)


def test_majority_of_a_tie_is_the_most_confident() -> None:
    runs = [given([0, 0], [0, 1], [0.4, 0.9]), given([0, 0], [1, 0], [0.3, 0.95]), given([0, 0], [2, 2], [0.2, 0.1])]
    assert majority(runs) == 100
    assert majority([*runs, given([0, 0], [1, 1], [0.2, 0.2])]) == 0  # two of four


def test_averaged_is_of_probabilities_not_of_logits() -> None:
    logits = [np.array([[0, 1]], np.float16), np.array([[0, 1]], np.float16), np.array([[9, 0]], np.float16)]
    runs = [Predictions(*[np.zeros(1, np.uint8)] * 2, *[np.ones(1, np.float32)] * 3, values) for values in logits]
    p = sum(np.exp(values.astype(float)) / np.exp(values.astype(float)).sum() for values in logits)
    assert averaged(runs) == (100 if p[0, 0] > p[0, 1] else 0)
    assert averaged([*runs, given([0], [0], [1.0])]) is None


def test_agreement_and_confusion() -> None:
    runs = [given([0, 1, 1, 2], predicted, [0.9] * 4) for predicted in ([0, 1, 1, 2], [0, 1, 2, 2], [1, 1, 2, 2])]
    assert agreement(runs) == pytest.approx(100 * (3 + 2 + 3) / 12)
    assert agreement(runs[:1]) is None and agreement(runs, runs) == 100
    expected = sum(confusion_matrix(run.label, run.predicted, labels=[0, 1, 2]) for run in runs)
    assert np.array_equal(confusion(runs, 3), expected)
    small = drawn(images=50, classes=200)  # in 8 bits, 199 * 200 does not fit
    assert np.array_equal(confusion([small], 200), confusion_matrix(small.label, small.predicted, labels=range(200)))


def test_the_interval_of_a_mean_is_that_of_welch() -> None:
    """Two samples of three and four: the interval that scipy gives for their difference."""
    first, second = [70.0, 74.0, 71.0], [60.0, 61.0, 66.0, 62.0]
    expected = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    parts = [(float(np.var(some, ddof=1)) / len(some), len(some) - 1) for some in (first, second)]
    found = t_interval(float(np.mean(first) - np.mean(second)), parts)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert t_interval(1.5, [(0.0, 2)]) == Interval(1.5, 1.5)
