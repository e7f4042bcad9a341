"""Resizing, normalising and flipping of uint8 batches on any device; resizing equals Pillow's, see `resample`."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from aoft_bench.data.resample import INTERPOLATIONS, weights
from aoft_bench.utils.errors import unknown

__all__ = ["INTERPOLATIONS", "NORMALIZATIONS", "flip", "normalize", "resize"]

Triple = tuple[float, float, float]

# name -> (mean, std) of the red, green and blue values in [0, 1]
NORMALIZATIONS: dict[str, tuple[Triple, Triple]] = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # what the IN-21k ViT checkpoints were trained with
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}

_CHUNK_VALUES = 8 * 2**20  # the largest intermediate: 64 MiB of float64


def resize(images: Tensor, size: int, interpolation: str = "bicubic") -> Tensor:
    """Squash a batch (N, C, H, W) uint8 to (N, C, size, size) uint8 on the device it is on.

    Two matrix products, across then down, with the weights of `resample.weights`. Pillow rounds and clamps to
    0..255 between the two passes, which matters for bicubic overshoot, and so do we for `bicubic` and `bilinear`;
    `bilinear_tf` rounds only at the end. The products are in float64, which holds Pillow's integer arithmetic exactly
    and which neither autocast nor TF32 touches (float32 where a device has no float64: within one grey level). Works
    in chunks of about 64 MiB. Raises `UserError` for an unknown name.
    """
    if interpolation not in INTERPOLATIONS:
        raise unknown("interpolation", interpolation, INTERPOLATIONS)
    count, channels, height, width = images.shape
    if (height, width) == (size, size):
        return images
    dtype = torch.float32 if images.device.type == "mps" else torch.float64
    across = _weights(width, size, interpolation, dtype, images.device).T.contiguous()
    down = _weights(height, size, interpolation, dtype, images.device)
    out = torch.empty((count, channels, size, size), dtype=torch.uint8, device=images.device)
    step = max(1, _CHUNK_VALUES // (channels * max(height * width, height * size, size * size)))
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        for start in range(0, count, step):
            part = images[start : start + step].to(dtype) @ across
            if interpolation != "bilinear_tf":
                part = _to_levels(part)
            out[start : start + step] = _to_levels(down @ part).to(torch.uint8)
    return out


@functools.lru_cache(maxsize=64)
def _weights(source: int, size: int, interpolation: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`resample.weights` on the device, moved there once: a batch that waits for a copy keeps the GPU idle."""
    with torch.inference_mode(False):
        return torch.from_numpy(weights(source, size, interpolation)).to(dtype).to(device)


def _to_levels(values: Tensor) -> Tensor:
    """Grey levels 0..255, halves rounded up as in Pillow's fixed-point arithmetic; overwrites `values`."""
    return values.add_(0.5).floor_().clamp_(0, 255)


def normalize(
    images: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor:
    """(x / 255 - mean) / std for x (N, C, H, W) uint8, C in {1, 3}, as (N, 3, H, W) of `dtype`.

    A grey image is repeated to three channels first. Computed in float32 and cast last.
    """
    shift, scale = (_channels(tuple(values), images.device) for values in (mean, std))
    return images.float().div_(255).sub(shift).div_(scale).to(dtype)


@functools.lru_cache(maxsize=32)
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(1, 3, 1, 1) float32 on the device, moved there once: a step that waits for a copy cannot be a CUDA graph."""
    with torch.inference_mode(False):  # else what scoring made first could not be used in training
        return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image of (N, C, H, W) left to right with probability 1/2.

    `generator` lives on the CPU, so that a seed gives the same flips on every device.
    """
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(-1), images)
