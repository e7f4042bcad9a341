"""The model of a run: a seeded backbone with a method attached."""

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from aoft_bench import backbones, methods
from aoft_bench.config.schema import RunConfig
from aoft_bench.data.transforms import NORMALIZATIONS
from aoft_bench.methods import Handle
from aoft_bench.training.hardware import prefer_fast_attention
from aoft_bench.training.regularization import regularize


@dataclass(frozen=True)
class AdaptedModel:
    """A backbone with a method attached. mean, std: normalization of pixel values in [0, 1]."""

    handle: Handle
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def model(self) -> nn.Module:
        return self.handle.model


def build_model(config: RunConfig, classes: int, device: torch.device, *, weights: bool = True) -> AdaptedModel:
    """The adapted model of a configuration, seeded, on the CPU; `device` is where it will run.

    weights=False leaves out the pretrained weights: the architecture alone needs no file.
    """
    seed_everything(config.seed)
    backbone = backbones.build(config.backbone, classes, drop_path=config.recipe.drop_path, weights=weights)
    regularize(backbone.model, config.recipe)
    prefer_fast_attention(backbone.model, device)
    handle = methods.attach(backbone.model, config.method.options)
    name = config.data.normalization
    mean, std = (backbone.mean, backbone.std) if name == "backbone" else NORMALIZATIONS[name]
    return AdaptedModel(handle, mean, std)


def seed_everything(seed: int) -> None:
    """Seed the generators that a library may draw from: of torch on every device, NumPy, Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
