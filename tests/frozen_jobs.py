"""Trainings of a tiny ViT whose frozen activations are kept, without data, weights or a command line."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import vit

import aoft_bench
from aoft_bench.config.schema import RecipeOptions, TrainerOptions
from aoft_bench.data.loader import DeviceBatches, StreamedBatches
from aoft_bench.training.job import TrainingJob
from aoft_bench.training.model import AdaptedModel

HALF = (0.5, 0.5, 0.5)
RECIPE: dict[str, Any] = dict(
    epochs=20, batch_size=4, lr=1e-3, weight_decay=0.0, warmup_epochs=None, warmup_lr=1e-7, min_lr=1e-8, drop_path=0.0,
    drop_path_kind="sample", mlp_dropout=0.0, label_smoothing=0.0, flip=True,
)  # fmt: skip
TRAINER: dict[str, Any] = dict(accelerator="cpu", precision="fp32", threads=None, eval_batch_size=5, progress="none")


def images(seed: int = 0, count: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)


def ordered(pixels: torch.Tensor) -> StreamedBatches:
    return StreamedBatches(pixels.permute(0, 2, 3, 1).numpy(), np.arange(len(pixels)) % 5, 5, size=16)


def job(folder: Path, method: str = "lora", **options: Any) -> TrainingJob:
    """Training of a ViT of three blocks whose activations are shared in `folder`/shared. Further options: of_network,
    of_recipe, of_trainer, pixels, scored (the split of seven images that are scored after each epoch, by default none),
    and those of the method."""
    network, trainer = options.pop("of_network", {}), options.pop("of_trainer", {})
    changes, pixels = options.pop("of_recipe", {}), options.pop("pixels", images())
    scored = options.pop("scored", None)
    model = vit(**{"depth": 3, **network}).float()
    torch.nn.init.zeros_(model.head.weight)  # as a run starts
    handle = aoft_bench.attach(model, method, **options)
    return TrainingJob(
        label="the run",
        adapted=AdaptedModel(handle, HALF, HALF),
        batches=DeviceBatches(pixels, torch.arange(len(pixels)) % 5, 4, shuffle=True, random_flip=True),
        recipe=RecipeOptions(**{**RECIPE, **changes}),
        trainer=TrainerOptions(**{**TRAINER, **trainer}),
        device=torch.device("cpu"),
        precision="fp32",
        checkpoint=folder / "checkpoint",
        scored=scored or "val200",
        score_batches=scored and ordered(images(2, 7)),
        shared=folder / "shared",
    )
