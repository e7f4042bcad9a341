"""Whether probabilities are right: reliability, expected calibration error, log-likelihood, Brier's score, top-5."""

from typing import NamedTuple

import numpy as np

from aoft_bench.records.predictions import Predictions

BINS = 15  # of equal width over [0, 1]: those of Guo et al. 2017 (ICML), and of what others report
SMALLEST = float(np.finfo(np.float32).tiny)  # what a probability of 0 counts as in a logarithm


class Reliability(NamedTuple):
    """By bin of confidence, (BINS,): number of images, their summed confidence, and how many of them are right."""

    images: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error in %: sum over bins of |accuracy - mean confidence|, weighted by their images."""
        return 100 * float(np.abs(self.correct - self.confidence).sum() / self.images.sum())


def reliability(predictions: Predictions) -> Reliability:
    """The bins of some predictions. A confidence of exactly k / BINS is in the lower of the two bins."""
    index = np.clip(np.ceil(predictions.confidence * np.float32(BINS)).astype(np.intp) - 1, 0, BINS - 1)
    return Reliability(
        np.bincount(index, minlength=BINS),
        np.bincount(index, predictions.confidence, BINS),
        np.bincount(index, predictions.correct, BINS),
    )


def negative_log_likelihood(predictions: Predictions) -> float:
    """Mean of -ln p of the true class, in nats; a p of 0 counts as the smallest normal float32."""
    return -float(np.log(np.maximum(predictions.probability_of_label, SMALLEST), dtype=np.float64).mean())


def brier(predictions: Predictions) -> float:
    """Mean over images of the sum over classes of (p - y)², from 0 to 2 (Brier 1950, of several classes)."""
    squares, p = (x.astype(np.float64) for x in (predictions.sum_of_squares, predictions.probability_of_label))
    return float((squares - 2 * p + 1).mean())


def top5(predictions: Predictions) -> float | None:
    """In %, how often the true class is among the five largest logits; None without logits, or with five classes or
    fewer. Of equal logits the first counts as the largest."""
    logits = predictions.logits
    if logits is None or logits.shape[1] <= 5:
        return None
    label = predictions.label.astype(np.intp)[:, None]
    own = np.take_along_axis(logits, label, 1)
    before = (logits > own) | ((logits == own) & (np.arange(logits.shape[1]) < label))
    return 100 * float((before.sum(1) < 5).mean())
