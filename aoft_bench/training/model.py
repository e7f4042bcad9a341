"""The model of a run: a seeded backbone with the recipe's dropouts and a method attached."""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aoft_bench import methods
from aoft_bench.backbones.layout import block_paths, feed_forward_layers
from aoft_bench.backbones.networks import build
from aoft_bench.config.schema import RecipeOptions, RunConfig
from aoft_bench.data.transforms import NORMALIZATIONS, normalize
from aoft_bench.methods import Handle
from aoft_bench.methods.base import Prepared
from aoft_bench.training.dropout import Dropout
from aoft_bench.training.hardware import prefer_fast_attention


@dataclass(frozen=True)
class AdaptedModel:
    """A backbone with a method attached. mean, std: normalization of pixel values in [0, 1]."""

    handle: Handle
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def model(self) -> nn.Module:
        return self.handle.model


@dataclass(frozen=True)
class NormalizedBatches:
    """What `Method.prepare` looks at. batches: (images (B, C, S, S) uint8, labels (B,)), the same in every pass."""

    batches: Iterable[tuple[Tensor, Tensor]]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self.batches:
            yield normalize(images, self.mean, self.std), labels


def build_model(
    config: RunConfig,
    classes: int,
    device: torch.device,
    *,
    weights: bool = True,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]] | None = None,
    prepared: Prepared | None = None,
    sha256: str = "",
) -> AdaptedModel:
    """The adapted model of a configuration, seeded, on the CPU; `device` is where it will run.

    weights=False leaves out the pretrained weights: the architecture alone needs no file. A method that prepares gets
    `prepared`, what it chose before, or chooses on `device` from `batches()`, uint8 images of the training split.
    Without both its sizes are right, its choice is not. sha256: what the weight file must have, if given; `UserError`
    for another.
    """
    # the generators that a library may draw from: of torch on every device, NumPy, Python
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)
    random.seed(config.seed)
    drop_path = config.recipe.drop_path
    backbone = build(config.backbone, classes, drop_path=drop_path, weights=weights, sha256=sha256)
    regularize(backbone.model, config.recipe)
    prefer_fast_attention(backbone.model, device)
    name = config.data.normalization
    mean, std = (backbone.mean, backbone.std) if name == "backbone" else NORMALIZATIONS[name]
    method = config.method.options
    if method.prepares and prepared is None and batches is not None:
        backbone.model.to(device)
        prepared = methods.prepare(backbone.model, method, NormalizedBatches(batches(), mean, std))
        backbone.model.cpu()
    handle = methods.attach(backbone.model, method, prepared=prepared or {})
    if config.recipe.drop_path_from == "trained":
        spare_frozen_blocks(handle.model)
    return AdaptedModel(handle, mean, std)


def regularize(model: nn.Module, recipe: RecipeOptions) -> None:
    """Apply the recipe's dropouts to a timm model that was built with its `drop_path` rate, in place.

    drop_path_kind "sample" drops a residual branch for a whole image (timm's DropPath); "element" drops single values.
    mlp_dropout acts after the activation and after the output of every MLP.
    """
    for module in model.modules():
        child: Any
        for name, child in list(module.named_children()):
            if recipe.drop_path_kind == "element" and type(child).__name__ == "DropPath":
                setattr(module, name, Dropout(child.drop_prob))
    for part in feed_forward_layers(model):
        part.drop1, part.drop2 = Dropout(recipe.mlp_dropout), Dropout(recipe.mlp_dropout)


def spare_frozen_blocks(model: nn.Module) -> None:
    """Let nothing be dropped in the blocks before the first trained parameter, in place."""
    parameters = [parameter for name, parameter in model.named_parameters()]
    frozen = {id(parameter) for parameter in itertools.takewhile(lambda p: not p.requires_grad, parameters)}
    for _, block in block_paths(model):
        if all(id(parameter) in frozen for parameter in block.parameters()):
            for module in block.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
                elif type(module).__name__ == "DropPath":
                    module.drop_prob = 0.0  # type: ignore[assignment]
