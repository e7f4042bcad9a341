"""A cell of a table whose data and weights are present: its identity, its model, its batches, its training job."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from aoft_bench import data
from aoft_bench.backbones.weights import check_weights, file_sha256, weight_file
from aoft_bench.config.check import problems_of
from aoft_bench.config.schema import RunConfig
from aoft_bench.data.crops import CroppedBatches
from aoft_bench.data.image_list import ImageList
from aoft_bench.data.loader import DeviceBatches, StreamedBatches, drawn_batches
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import PreparedTask, Split, prepare, source_of
from aoft_bench.data.tasks import Task
from aoft_bench.experiments.classes import check_classes
from aoft_bench.experiments.device import device_of, precision_of
from aoft_bench.experiments.locate import files_of, hash_of
from aoft_bench.methods.base import Prepared
from aoft_bench.records.files import CellFiles
from aoft_bench.records.protocols import PROTOCOLS, Protocol
from aoft_bench.training.job import TrainingJob
from aoft_bench.training.model import AdaptedModel, build_model
from aoft_bench.training.shards import Shard
from aoft_bench.training.wandb import EpochLogger
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import user_path

TrainingBatches = DeviceBatches | StreamedBatches | CroppedBatches


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
            check_classes(self.prepared, self.trained_split, self.config.method.name, self.label)
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
