"""What a training job is given, and what it leaves beside the trained weights."""

from dataclasses import dataclass
from pathlib import Path

import torch

from aoft_bench.config.schema import RecipeOptions, TrainerOptions
from aoft_bench.data.crops import CroppedBatches
from aoft_bench.data.loader import DeviceBatches, StreamedBatches
from aoft_bench.training.model import AdaptedModel
from aoft_bench.training.shards import Shard
from aoft_bench.training.wandb import EpochLogger


@dataclass(frozen=True)
class TrainingJob:
    """One training run: the model, its data and its settings.

    label: name of the run in messages. adapted: the model, trained in place. batches: the training images. precision:
    "fp32" or "bf16" (mixed). checkpoint: file that is written after each epoch, and from which a stopped run goes on.
    scored: split whose accuracy is the result ("val200" or "test"). score_batches: its images, to be scored after each
    epoch; None under the protocol `clean`. logger: the W&B run. shard: the part of this process in every batch, where
    several train one model together. shared: folder in which runs share frozen activations, if they do. until: the
    epoch after which training stops, on the schedule of `recipe.epochs`; its checkpoint goes on from there. None: the
    last one.
    """

    label: str
    adapted: AdaptedModel
    batches: DeviceBatches | StreamedBatches | CroppedBatches
    recipe: RecipeOptions
    trainer: TrainerOptions
    device: torch.device
    precision: str
    checkpoint: Path
    scored: str
    score_batches: StreamedBatches | CroppedBatches | None = None
    logger: EpochLogger | None = None
    shard: Shard | None = None
    shared: Path | None = None
    until: int | None = None

    @property
    def is_main_process(self) -> bool:
        """Whether this process shows progress and messages: the only one, or the one of rank 0."""
        return self.shard is None or self.shard.rank == 0


@dataclass(frozen=True)
class TrainingResult:
    """curves: one value an epoch. seconds: of training alone, summed over all starts. resumed: how often a stopped run
    went on. processes: how many trained together. peak_memory_bytes: the largest of those processes; 0 where this
    process trained."""

    curves: dict[str, list[float]]
    seconds: float
    images_per_second: float
    resumed: int
    processes: int = 1
    peak_memory_bytes: int = 0
