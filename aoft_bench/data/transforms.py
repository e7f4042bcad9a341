"""Resize, normalise and mirror uint8 batches on any device. Resizing equals Pillow's, see `resample`."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from aoft_bench.data.resample import INTERPOLATIONS, weights
from aoft_bench.utils.errors import unknown

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

    Two matrix products, for the width and then for the height, with the weights of `resample.weights`. For `bicubic`
    and `bilinear` values are rounded and clamped to 0..255 between the two, as in Pillow, which matters for bicubic
    overshoot; `bilinear_tf` rounds only at the end. Float64 represents Pillow's integer arithmetic exactly and is not
    affected by autocast or TF32; a device without it uses float32, exact within one grey level. Works in chunks of
    about 64 MiB. Raises `UserError` for an unknown interpolation.
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
    """`resample.weights` on the device. Cached: a copy for each batch would keep the GPU waiting."""
    with torch.inference_mode(False):
        return torch.from_numpy(weights(source, size, interpolation)).to(dtype).to(device)


def _to_levels(values: Tensor) -> Tensor:
    """Round to grey levels 0..255 in place, halves up as in Pillow's fixed-point arithmetic."""
    return values.add_(0.5).floor_().clamp_(0, 255)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x / 255 - mean) / std for x (N, C, H, W) uint8, C in {1, 3}, as (N, 3, H, W) float32.

    A grey image is repeated to three channels first.
    """
    shift, scale = (_channels(tuple(values), images.device) for values in (mean, std))
    return images.float().div_(255).sub(shift).div_(scale)


@functools.lru_cache(maxsize=32)
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(1, 3, 1, 1) float32 on the device. Cached: a CUDA graph must not contain a copy from the CPU."""
    with torch.inference_mode(False):  # a tensor cached during scoring must be usable in training
        return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)


def draw_mirrored(count: int, generator: torch.Generator) -> Tensor:
    """Which of `count` images are mirrored, (count,) bool: each with probability 1/2.

    `generator` is on the CPU, and so is the result, so that a seed gives the same flips on every device.
    """
    return torch.rand(count, generator=generator) < 0.5


def mirror(images: Tensor, mirrored: Tensor) -> Tensor:
    """Turn left to right those images of (N, C, H, W) that `mirrored` (N,) says."""
    return torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(-1), images)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image of (N, C, H, W) left to right with probability 1/2; `generator` as in `draw_mirrored`."""
    return mirror(images, draw_mirrored(len(images), generator))
