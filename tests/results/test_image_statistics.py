"""Statistics over images against other libraries, and against slow and plain computations of the same."""

import numpy as np
import pytest
from prediction_cases import drawn
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score

from aoft_bench.records.predictions import Predictions
from aoft_bench.results.calibration import BINS, brier, negative_log_likelihood, reliability, top5
from aoft_bench.results.image_statistics import (
    agreement,
    averaged,
    confusion,
    difference_error,
    difference_interval,
    majority,
    mcnemar,
    twice_the_median,
)

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
    assert mcnemar(first, second) == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1, rel=1e-9)


def test_several_tests_count_as_twice_their_median() -> None:
    assert twice_the_median([0.04]) == 0.04
    assert twice_the_median([0.01, 0.02, 0.9]) == 0.04
    assert twice_the_median([0.6, 0.7]) == 1.0


def drawn_plainly(first: np.ndarray, second: np.ndarray, *, seeds: bool) -> tuple[float, float]:
    """The bootstrap as it is written down: images, and seeds, drawn one by one."""
    generator, values = np.random.default_rng(1), []
    for _ in range(3000):
        sides = []
        images = generator.integers(first.shape[1], size=first.shape[1])
        for runs in (first, second):
            chosen = generator.integers(len(runs), size=len(runs)) if seeds else np.arange(len(runs))
            sides.append(runs[chosen][:, images].mean())
        values.append(100 * (sides[0] - sides[1]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("seeds", [False, True])
def test_the_interval_is_that_of_the_plain_bootstrap(seeds: bool) -> None:
    first = np.stack([drawn(seed, 200, skill=2.0 + seed).correct for seed in range(3)])
    second = np.stack([drawn(seed, 200, skill=1.0 + seed).correct for seed in (7, 8)])
    found = difference_interval(first, second, seeds=seeds)
    assert (found.low, found.high) == pytest.approx(drawn_plainly(first, second, seeds=seeds), abs=0.8)
    assert found == difference_interval(first, second, seeds=seeds)


def test_a_model_does_not_differ_from_itself() -> None:
    run = KEPT.correct[None]
    for seeds in (False, True):
        found = difference_interval(run, run, seeds=seeds)
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


def test_the_standard_error_is_that_of_the_bootstrap_over_images_and_seeds() -> None:
    generator = np.random.default_rng(0)
    first, second = (
        generator.random((3, 4_000)) < skill[:, None]
        for skill in (np.array([0.70, 0.74, 0.71]), np.array([0.60, 0.61, 0.66]))
    )
    interval = difference_interval(first, second, seeds=True)
    assert interval.low is not None and interval.high is not None
    images = difference_interval(first, second, seeds=False)
    assert images.low is not None and images.high is not None
    # the bootstrap draws three seeds with replacement, whose variance is 2/3 of the unbiased one
    of_seeds = 1e4 * sum(float(runs.mean(1).var()) / 3 for runs in (first, second))
    of_images = ((images.high - images.low) / 2 / 1.96) ** 2
    assert difference_error(first, second) ** 2 == pytest.approx(of_images + 1.5 * of_seeds, rel=0.08)
    assert (interval.high - interval.low) / 2 / 1.96 == pytest.approx((of_images + of_seeds) ** 0.5, rel=0.15)
    assert difference_error(first[:1], second[:1]) == pytest.approx(
        100 * (first[0].astype(float) - second[0]).std() / 4_000**0.5
    )
