"""A folder in timm's format or in ONNX as a classifier of image files. Needs no record and no data."""

import json
import math
from collections.abc import Callable, Sequence
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

EXPORTED = "give a folder that `aoft-bench export-model RECORD out=DIR format=timm` (or format=onnx) wrote"


@dataclass(frozen=True)
class Predictor:
    """A network in evaluation mode, and what its inputs and outputs mean.

    model: images (N, 3, S, S), normalized -> logits (N, classes); size: side of the input in pixels; short_side: what
    images are resized to before a central crop, None where they are squashed; mean, std: normalization of values in
    [0, 1]; labels: what the classes are called.
    """

    model: Callable[[Tensor], Tensor]
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
        return self.model(normalize(batch, self.mean, self.std)).softmax(dim=1)


def load_network(folder: Path) -> Predictor:
    """Read a folder in timm's format or in ONNX; `UserError` for another one."""
    graph = folder / "model.onnx"
    path = folder / ("preprocessing.json" if graph.is_file() else "config.json")
    config = _read_config(path)
    try:
        cfg: dict[str, Any] = config if graph.is_file() else config["pretrained_cfg"]
        size = int(cfg["input_size"][-1])
        interpolation = config.get("aoft_bench", {}).get("interpolation", cfg["interpolation"])
        mean, std = (tuple(map(float, cfg[name])) for name in ("mean", "std"))
        squashed = cfg.get("crop_mode") == "squash"
        short_side = None if squashed else math.floor(size / float(cfg["crop_pct"]))
        labels = tuple(map(str, config.get("label_names") or range(int(config["num_classes"]))))
        model = _onnx(graph, size, len(labels)) if graph.is_file() else _timm(config, len(labels))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(f"{path} describes no model ({_reason(error)}); {EXPORTED}") from None
    if interpolation not in INTERPOLATIONS or len(mean) != 3 or len(std) != 3:
        raise UserError(f"{path} does not say how images are prepared; {EXPORTED}")
    if isinstance(model, nn.Module):
        _load_weights(model, folder / "model.safetensors")
    return Predictor(model, size, short_side, interpolation, mean, std, labels)


def _read_config(path: Path) -> dict[str, Any]:
    folder = path.parent
    if not path.is_file():
        if (folder / "adapter_config.json").is_file():
            raise UserError(f"{folder} holds an adapter for peft, without its network; {EXPORTED}")
        kind = f"has no {path.name}" if folder.is_dir() else "is no folder" if folder.exists() else "does not exist"
        raise UserError(f"no model in {folder}: it {kind}; {EXPORTED}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {EXPORTED}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no configuration; {EXPORTED}")
    return config


def _timm(config: dict[str, Any], classes: int) -> nn.Module:
    """The network that config.json describes, without its weights."""
    if int(config["num_classes"]) != classes:
        raise ValueError(f"{classes} names for {config['num_classes']} classes")
    arguments = {**config.get("model_args", {}), "num_classes": classes}
    return import_timm().create_model(config["architecture"], pretrained=False, **arguments).eval()


def _onnx(path: Path, size: int, classes: int) -> Callable[[Tensor], Tensor]:
    """The graph of a file in onnxruntime, on the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"{path} needs onnxruntime ({error}); pip install -e '.[onnx]' in the checkout, or export to timm"
        ) from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime's own kinds
        raise UserError(f"{path} is damaged ({_reason(error)}); export the model again") from None
    shapes = [list(one.shape[1:]) for one in (*session.get_inputs(), *session.get_outputs())]
    if shapes != [[3, size, size], [classes]]:
        raise ValueError(f"images of {size} px and {classes} names for a graph of the shapes {shapes}")

    def logits(images: Tensor) -> Tensor:
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        if not np.isfinite(found).all():
            raise UserError(f"{path} gives NaN or infinite values; export the model again")
        return torch.from_numpy(found)

    return logits


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
