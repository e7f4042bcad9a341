"""A folder in timm's format as a classifier of image files. Needs no record and no data."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from aoft_bench.backbones.finite import not_finite
from aoft_bench.data.resample import INTERPOLATIONS, resize_short_side, squash
from aoft_bench.data.transforms import normalize
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.fast_imports import import_timm

EXPORTED = "give a folder that `aoft-bench export-model RECORD out=DIR format=timm` wrote"


@dataclass(frozen=True)
class Predictor:
    """A network in evaluation mode, and what its inputs and outputs mean.

    size: side of the input in pixels; short_side: what images are resized to before a central crop, None where they are
    squashed; mean, std: normalization of values in [0, 1]; labels: what the classes are called.
    """

    model: nn.Module
    size: int
    short_side: int | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """An image (H, W, 3) uint8 as (size, size, 3), resized as in training."""
        if self.short_side is None:
            return squash(image, self.size, self.interpolation)
        image = resize_short_side(image, self.short_side, self.interpolation)
        top, left = (round((side - self.size) / 2) for side in image.shape[:2])
        return image[top : top + self.size, left : left + self.size]

    @torch.inference_mode()
    def probabilities(self, images: Sequence[np.ndarray]) -> Tensor:
        """The softmax (N, classes) of images that `prepare` gave."""
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return self.model(normalize(batch, self.mean, self.std)).softmax(dim=1)  # type: ignore[no-any-return]


def load_network(folder: Path) -> Predictor:
    """Read config.json and model.safetensors; `UserError` for a folder without them, or with others than timm's."""
    config = _read_config(folder)
    try:
        cfg: dict[str, Any] = config["pretrained_cfg"]
        size, classes = int(cfg["input_size"][-1]), int(config["num_classes"])
        interpolation = config.get("aoft_bench", {}).get("interpolation", cfg["interpolation"])
        mean, std = (tuple(map(float, cfg[name])) for name in ("mean", "std"))
        squashed = cfg.get("crop_mode") == "squash"
        short_side = None if squashed else math.floor(size / float(cfg["crop_pct"]))
        labels = tuple(map(str, config.get("label_names") or range(classes)))
        arguments = {**config.get("model_args", {}), "num_classes": classes}
        model = import_timm().create_model(config["architecture"], pretrained=False, **arguments)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(f"{folder / 'config.json'} describes no model of timm ({_reason(error)}); {EXPORTED}") from None
    if interpolation not in INTERPOLATIONS or len(labels) != classes or len(mean) != 3 or len(std) != 3:
        raise UserError(f"{folder / 'config.json'} does not say how images are prepared and named; {EXPORTED}")
    _load_weights(model, folder / "model.safetensors")
    return Predictor(model.eval(), size, short_side, interpolation, mean, std, labels)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not folder.is_dir() or not path.is_file():
        kind = "has no config.json" if folder.is_dir() else "is no folder" if folder.exists() else "does not exist"
        raise UserError(f"no model in {folder}: it {kind}; {EXPORTED}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {EXPORTED}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no configuration; {EXPORTED}")
    return config


def _load_weights(model: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise UserError(f"no model in {path.parent}: it has no {path.name}; {EXPORTED}")
    try:
        state = load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); export the model again") from None
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit its config.json ({_reason(error)}); export the model again") from None
    if broken := not_finite(state.items()):
        raise UserError(f"{path} holds NaN or infinite values, first in {broken[0]!r}; export the model again")


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
