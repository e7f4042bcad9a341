"""One experiment from end to end: its identity, its model, training, scoring, and the record it leaves.

`prepare_experiment` finds data and weights and computes the hash that names the record. `run_experiment` does the rest.
"""

import datetime
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from aoft_bench import data
from aoft_bench.backbones.finite import not_finite
from aoft_bench.backbones.weights import check_weights, file_sha256, weight_file, weights_name
from aoft_bench.config.check import problems_of
from aoft_bench.config.method_packages import versions_of
from aoft_bench.config.schema import RunConfig
from aoft_bench.data.crops import CroppedBatches
from aoft_bench.data.image_list import ImageList
from aoft_bench.data.loader import DeviceBatches, StreamedBatches, drawn_batches
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import PreparedTask, Split, prepare, source_of
from aoft_bench.data.tasks import Task
from aoft_bench.experiments.classes import check_classes
from aoft_bench.experiments.ddp import fit_in_processes
from aoft_bench.experiments.device import device_of, precision_of
from aoft_bench.experiments.locate import files_of, hash_of
from aoft_bench.experiments.start import announce
from aoft_bench.methods.base import Prepared
from aoft_bench.records.code_version import code_digest, git_state, version_of
from aoft_bench.records.files import CellFiles, write_record
from aoft_bench.records.predictions import Predictions, check_predictions, write_predictions
from aoft_bench.records.protocols import PROTOCOLS, Protocol
from aoft_bench.records.schema import SCHEMA, is_stopped
from aoft_bench.training import hardware
from aoft_bench.training.fit import fit
from aoft_bench.training.job import TrainingJob, TrainingResult
from aoft_bench.training.model import AdaptedModel, build_model
from aoft_bench.training.progress import with_progress
from aoft_bench.training.score import ShiftScore, diverged, predict, score_shift
from aoft_bench.training.shards import Shard
from aoft_bench.training.trained_file import write_trained
from aoft_bench.training.wandb import EpochLogger, Mirror
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import user_path

TrainingBatches = DeviceBatches | StreamedBatches | CroppedBatches
PACKAGES = ("aoft_bench", "torch", "torchvision", "timm", "pytorch-lightning", "hydra-core", "numpy", "pillow", "peft")


@dataclass(frozen=True)
class Experiment:
    """A cell of a table whose data and weights are present. weights: the backbone's file. digest: hash of the identity.

    device, precision: those of this machine for `config.trainer`.
    """

    config: RunConfig
    protocol: Protocol
    prepared: PreparedTask
    weights: Path
    weights_sha256: str
    device: torch.device
    precision: str
    digest: str

    @property
    def files(self) -> CellFiles:
        return files_of(self.config, self.digest)

    @property
    def label(self) -> str:
        c = self.config
        return f"{c.method.label} · {c.dataset.name} · {c.backbone.name} · seed {c.seed}"

    def build_model(self, prepared: Prepared | None = None) -> AdaptedModel:
        """The adapted model; `UserError` if the weight file is not the one that the hash was computed of.

        prepared: what its method chose from training images before (`Method.prepare`); by default it is chosen now.
        """
        if prepared is None and self.config.method.options.prepares:
            check_classes(self.prepared, self.protocol.train, self.config.method.name, self.label)
        options: dict[str, Any] = {"batches": self.plain_batches, "prepared": prepared, "sha256": self.weights_sha256}
        return build_model(self.config, self.prepared.classes, self.device, **options)

    @cached_property
    def scored_split(self) -> Split:
        """The split whose accuracy is the result. The only place that opens the test split, once a run."""
        return self.prepared.open_test() if self.protocol.score == "test" else self.prepared.train("val200")

    @property
    def trained_split(self) -> str:
        """The split that is trained on: of k images of each class (data.shots), these alone, whatever the protocol."""
        return "train800" if self.config.data.shots else self.protocol.train

    @cached_property
    def copies(self) -> int:
        """How many of the scored images are training images too."""
        return self.prepared.copies(self.trained_split, self.protocol.score)

    def train_batches(self) -> TrainingBatches:
        """Shuffled batches of the protocol's training split, on the device and of the model's input size."""
        return self._train_batches(random_crop=True, shuffle=True, random_flip=self.config.recipe.flip)

    def plain_batches(self) -> TrainingBatches:
        """Batches of the same images, in order and not augmented."""
        return self._train_batches(random_crop=False)

    def _train_batches(self, *, random_crop: bool, **options: Any) -> TrainingBatches:
        c, size = self.config, self.config.backbone.img_size
        images, labels = self.prepared.train(self.trained_split)
        options["seed"] = c.seed
        if isinstance(images, ImageList):
            options |= {"size": size, "device": self.device, "random_crop": random_crop}
            return CroppedBatches(images, labels, c.recipe.batch_size, **options)
        options |= {"size": size, "interpolation": c.data.interpolation, "device": self.device}
        return drawn_batches(images, labels, c.recipe.batch_size, **options)

    def score_batches(self) -> StreamedBatches | CroppedBatches:
        """Batches of `scored_split`, see `ordered_batches`."""
        return ordered_batches(self.scored_split, self.config, self.device)

    def job(
        self, adapted: AdaptedModel, logger: EpochLogger | None, shard: Shard | None = None, until: int | None = None
    ) -> TrainingJob:
        """The training of `adapted`, up to an epoch; of several processes, the shard of this one."""
        return TrainingJob(
            label=self.label,
            adapted=adapted,
            batches=self.train_batches(),
            recipe=self.config.recipe,
            trainer=self.config.trainer,
            device=self.device,
            precision=self.precision,
            checkpoint=self.files.checkpoint,
            scored=self.protocol.score,
            score_batches=self.score_batches() if self.protocol.every_epoch else None,
            logger=logger,
            shard=shard,
            shared=self._shared_folder,
            until=until,
        )

    @property
    def _shared_folder(self) -> Path | None:
        """Where runs of a task share frozen activations: by default those that tune."""
        asked = self.config.trainer.frozen_cache
        if asked == "shared" or (asked == "auto" and self.config.protocol.name == "tune"):
            return user_path(self.config.data.cache, "data.cache") / ".frozen"
        return None


def ordered_batches(split: Split, config: RunConfig, device: torch.device) -> StreamedBatches | CroppedBatches:
    """Batches of a split in order, for a model that is not trained by them: streamed, and resized on the device.

    Images that are cropped (FGVC, ImageNet) are cropped at their center.
    """
    images, labels = split
    batch_size, size = config.trainer.eval_batch_size, config.backbone.img_size
    if isinstance(images, ImageList):
        return CroppedBatches(images, labels, batch_size, random_crop=False, size=size, device=device)
    interpolation = config.data.interpolation
    return StreamedBatches(images, labels, batch_size, size=size, interpolation=interpolation, device=device)


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


def prepare_experiment(config: RunConfig) -> Experiment:
    """Find data and weights, prepare the data's cache, and compute the hash. Raises `UserError` for what is missing."""
    chosen = PROTOCOLS[config.protocol.name]
    device = device_of(config.trainer)
    precision = precision_of(config.trainer, device.type)
    task = data.task_of(config.dataset)
    weights = _check_data_and_weights(config, task)
    sha256 = file_sha256(weights)
    prepared = prepare(
        task, Locations.of(config.data), image_size=config.backbone.img_size, interpolation=config.data.interpolation
    )
    digest = hash_of(config, prepared.fingerprint, sha256, precision)
    return Experiment(config, chosen, prepared, weights, sha256, device, precision, digest)


def run_experiment(
    experiment: Experiment, command: str, processes: int = 1, trial: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Train, score once, save what was trained, and write the record, which is returned.

    command: what the record says reproduces it. processes: how many train together. trial: of `aoft-bench tune`, see
    `records.schema.Trial`; one that ends at an earlier rung leaves its record in stopped/, and a checkpoint to go on.
    """
    config, files = experiment.config, experiment.files
    _ = experiment.copies  # reads the manifest: a damaged one is found before training
    hardware.reset_peak_memory(experiment.device)
    adapted = experiment.build_model()
    until = None if trial is None else trial["rungs"][trial["rung"] - 1]
    official = experiment.prepared.official
    label, digest, facts = experiment.label, experiment.digest, facts_of(experiment)
    with Mirror(config, label=label, digest=digest, official=official, facts=facts) as mirror:
        announce(experiment, adapted, mirror.where, processes)
        if processes == 1:
            trained = fit(experiment.job(adapted, mirror.logger, until=until))
        else:
            trained = fit_in_processes(
                config,
                adapted.handle,
                processes,
                label=experiment.label,
                digest=experiment.digest,
                checkpoint=files.checkpoint,
                logger=mirror.logger,
                until=until,
            )
        score = score_model(experiment, adapted)
        record = describe(experiment, adapted, trained, score, command)
        if trial is not None:
            record["trial"] = trial
        if is_stopped(record):
            write_record(files.stopped, record)
            return record
        record["trained_sha256"] = write_trained(files.trained, adapted.handle.state_dict())
        record["cost"]["trained_file_bytes"] = files.trained.stat().st_size
        _keep_predictions(files, score.predictions, record, config.results.predictions)
        write_record(files.record, record)
        mirror.summarize(record)
    return record


def _keep_predictions(files: CellFiles, predictions: Predictions, record: dict[str, Any], kept: str) -> None:
    """Write predictions where they are `kept`, and name their file in the record; else remove those of a run before."""
    if kept == "none":
        files.predictions.unlink(missing_ok=True)
        return
    check_predictions(predictions, record)
    record["predictions_sha256"] = write_predictions(files.record, predictions, record["data"]["manifest"])


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


def facts_of(experiment: Experiment) -> dict[str, Any]:
    """What W&B shows of a cell beside its configuration: device, precision, digests, versions."""
    return {
        "device": experiment.device.type,
        "precision": experiment.precision,
        "weights_sha256": experiment.weights_sha256,
        "data_fingerprint": experiment.prepared.fingerprint,
        "versions": versions_of_cell(experiment.config),
        "code": code_digest(),
        "git": git_state(),
    }


def versions_of_cell(config: RunConfig) -> dict[str, str | None]:
    """The packages that a number depends on, that of a method from elsewhere among them, with their versions."""
    return {name: version_of(name) for name in PACKAGES} | versions_of(type(config.method.options).__module__)


def describe(
    experiment: Experiment, adapted: AdaptedModel, trained: TrainingResult, score: Score, command: str
) -> dict[str, Any]:
    """The record of an experiment: what was measured, on which data, with which code, on which hardware."""
    config, prepared, protocol = experiment.config, experiment.prepared, experiment.protocol
    correct, total = score.correct, score.total
    metrics: dict[str, Any] = {
        "split": protocol.score,
        "top1": 100 * correct / total,
        "correct": correct,
        "total": total,
    }
    per_epoch = trained.curves.get(f"{protocol.score}_top1", [])
    if protocol.best_test_epoch:
        best = max(per_epoch)
        metrics |= {"best_test_epoch_top1": best, "best_test_epoch": 1 + per_epoch.index(best)}
    if score.shifts:
        metrics["shifts"] = {
            name: {"top1": 100 * shift.correct / shift.total, **shift._asdict()} for name, shift in score.shifts.items()
        }
    choice = adapted.handle.choice_digest()
    return {
        "schema": SCHEMA,
        "backbone": config.backbone.name,
        "method": config.method.label,
        "dataset": config.dataset.name,
        "seed": config.seed,
        "hash": experiment.digest,
        "command": command,
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "protocol": {
            "name": protocol.name,
            "train": experiment.trained_split,
            "score": protocol.score,
            "epoch": "last",
        },
        "metrics": metrics,
        "curves": trained.curves,
        "parameters": adapted.handle.parameter_counts(),
        **({} if choice is None else {"prepared": choice}),
        "data": {
            "fingerprint": prepared.fingerprint,
            "manifest": prepared.manifest,
            "source": prepared.source,
            "source_note": prepared.source_note,
            "official": prepared.official,
            "official_note": prepared.official_note,
            "classes": prepared.classes,
            **_of_own(prepared),
            "sizes": prepared.sizes,
            "copies": experiment.copies,
            "shape": list(prepared.shape) if prepared.shape else None,
            "squashed_by": prepared.squashed_by,
            "mean": list(adapted.mean),
            "std": list(adapted.std),
        },
        "weights": {"sha256": experiment.weights_sha256, "source": weights_name(config.backbone)},
        "precision": experiment.precision,
        "merged": score.merged,
        "cost": {
            "train_seconds": round(trained.seconds, 3),
            "train_images_per_second": round(trained.images_per_second, 2),
            "score_seconds": round(score.seconds, 3),
            "score_images_per_second": round((total + sum(s.total for s in score.shifts.values())) / score.seconds, 2),
            "peak_memory_bytes": max(trained.peak_memory_bytes, hardware.peak_memory_bytes(experiment.device)),
            "resumed": trained.resumed,
        },
        "hardware": {**hardware.describe(experiment.device), "processes": trained.processes},
        "versions": versions_of_cell(config),
        "git": git_state(),
        "code": code_digest(),
        "config": config.as_dict(),
    }


def _of_own(prepared: PreparedTask) -> dict[str, Any]:
    """What a record says of images beside their digests: what was drawn, and the names of one's own classes, in the
    order of the labels."""
    names = prepared.class_names if prepared.task.suite == "own" else None
    return {
        **({"drawn": prepared.drawn} if prepared.drawn else {}),
        **({"class_names": list(names)} if names else {}),
    }


def _check_data_and_weights(config: RunConfig, task: Task) -> Path:
    """The weight file, downloaded if need be, but only where the data are there.

    Raises one `UserError` for all images and weights that are missing.
    """
    missing = []
    try:
        source_of(task, Locations.of(config.data), config.backbone.img_size, config.data.interpolation)
    except UserError as error:
        missing.append(str(error))
    try:
        if not missing:
            return weight_file(config.backbone)
        check_weights(config.backbone)
    except UserError as error:
        missing.append(str(error))
    raise UserError(problems_of(missing))
