"""Scoring a trained model: the only place where a result is counted."""

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch

from aoft_bench.backbones.finite import not_finite
from aoft_bench.experiments.experiment import Experiment, ordered_batches
from aoft_bench.records.predictions import Predictions
from aoft_bench.training.model import AdaptedModel
from aoft_bench.training.progress import with_progress
from aoft_bench.training.score import ShiftScore, diverged, predict, score_shift


class Score(NamedTuple):
    """What a trained model predicts. merged: whether the method was merged into the backbone for it. shifts: what is
    right of the further test sets of the task, by name; none where the test split is not scored."""

    predictions: Predictions
    merged: bool
    seconds: float
    shifts: Mapping[str, ShiftScore]

    @property
    def correct(self) -> int:
        """How many images are right: top-1 is over images (micro average), not over classes."""
        return int(self.predictions.correct.sum())

    @property
    def total(self) -> int:
        return len(self.predictions)


def score_model(experiment: Experiment, adapted: AdaptedModel) -> Score:
    """Score a trained model on the experiment's split, merged where the method can merge.

    The only place where a result is counted, for a run as for `aoft-bench evaluate`. Raises `UserError` if the model
    that is scored, or a logit, holds NaN or infinite values.
    """
    start = time.monotonic()
    handle = adapted.handle
    merged = handle.mergeable
    if merged:
        handle.merge()
    adapted.model.to(experiment.device)
    recipe, progress = experiment.config.recipe, experiment.config.trainer.progress
    if broken := not_finite(adapted.model.state_dict().items()):
        what = f"{len(broken)} tensors of the {'merged' if merged else 'trained'} model hold NaN or infinite values"
        raise diverged(f"{what}, the first is {broken[0]!r}", recipe)
    images = len(experiment.scored_split.labels)
    predictions, broken_logits = predict(
        adapted.model,
        with_progress(experiment.score_batches(), progress, f"{experiment.label}: scoring", images),
        mean=adapted.mean,
        std=adapted.std,
        device=experiment.device,
        precision=experiment.precision,
        keep_logits=experiment.config.results.predictions == "logits",
    )
    if broken_logits:
        split = experiment.protocol.score
        raise diverged(f"the logits of {broken_logits:,} of {images:,} {split} images are not finite", recipe)
    shifts = dict(_score_shifts(experiment, adapted)) if experiment.protocol.score == "test" else {}
    if merged:
        handle.unmerge()
    return Score(predictions, merged, time.monotonic() - start, shifts)


def _score_shifts(experiment: Experiment, adapted: AdaptedModel) -> Iterator[tuple[str, ShiftScore]]:
    """The name and the score of each further test set of the task. Each is opened here only, after training."""
    config, device = experiment.config, experiment.device
    for name, split in experiment.prepared.open_shifts():
        batches, images = ordered_batches(split, config, device), len(split.labels)
        shift, broken = score_shift(
            adapted.model,
            with_progress(batches, config.trainer.progress, f"{experiment.label}: scoring {name}", images),
            torch.from_numpy(np.unique(split.labels)),
            mean=adapted.mean,
            std=adapted.std,
            device=device,
            precision=experiment.precision,
        )
        if broken:
            raise diverged(f"the logits of {broken:,} of {images:,} images of {name} are not finite", config.recipe)
        yield name, shift
