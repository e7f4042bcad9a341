"""Predictions for tests: drawn at random, of a record that fits them, and how to lay both down as a run does."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import record_cases
import report_records

from aoft_bench.records.files import predictions_path
from aoft_bench.records.predictions import Predictions, index_type, write_predictions

MANIFEST = "ab" * 32


def drawn(seed: int = 0, images: int = 60, classes: int = 5, skill: float = 2.0, logits: bool = False) -> Predictions:
    """Predictions of a network that is better the larger `skill` is. The labels are the same for all seeds."""
    label = np.arange(images) * 7 % classes
    values = np.random.default_rng(seed).normal(size=(images, classes)).astype(np.float32)
    values[np.arange(images), label] += np.float32(skill)
    p = np.exp(values - values.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    predicted, index = values.argmax(1), index_type(classes)
    return Predictions(
        label.astype(index),
        predicted.astype(index),
        p[np.arange(images), predicted],
        p[np.arange(images), label],
        (p * p).sum(1),
        values.astype(np.float16) if logits else None,
    )


def record_of(
    predictions: Predictions, method: str = "lora", dataset: str = "digits", seed: int = 0, **changes: Any
) -> Any:
    """A record that says what the predictions give; of no official images."""
    images, right = len(predictions), int(predictions.correct.sum())
    classes = 5 if predictions.logits is None else predictions.logits.shape[1]
    options: dict[str, Any] = {
        "metrics": {"split": "test", "top1": 100 * right / images, "correct": right, "total": images},
        "data__manifest": MANIFEST,
        "data__classes": classes,
        "data__source": "embedded",
        "data__official": False,
        "data__official_note": "drawn",
    }
    return report_records.make(method, dataset, seed, **(options | changes))


def lay_down(root: Path, record: dict[str, Any], predictions: Predictions) -> Path:
    """Write a record below `root` and its predictions beside it; returns the record's path."""
    path = record_cases.write(root, record)
    record["predictions_sha256"] = write_predictions(path, predictions, record["data"]["manifest"])
    path.write_text(json.dumps(record))
    return path


def forge(path: Path, record: dict[str, Any], content: bytes) -> None:
    """Put `content` in place of a record's predictions, as someone does who corrects the digest too."""
    predictions_path(path).write_bytes(content)
    record["predictions_sha256"] = hashlib.sha256(content).hexdigest()
