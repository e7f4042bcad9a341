"""Resampling weights and image resizing with NumPy and Pillow only; the device path is `transforms`.

Every filter is separable: out = V @ image @ H^T with V (size, height) and H (size, width), rows summing to 1. The
order of the passes matters, since Pillow rounds and clamps between them: up to 20 grey levels beside hard edges. We go
across first, then down, as every Pillow before 13 does; Pillow 13 goes down first where the height shrinks more than
the width (python-pillow/Pillow pull request 9549), and the data would depend on the version installed.
"""

import numpy as np
from PIL import Image

INTERPOLATIONS = ("bicubic", "bilinear", "bilinear_tf")

_PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_SUPPORT = {"bicubic": 2.0, "bilinear": 1.0}
_FIXED_POINT = 2.0**22  # Pillow stores its 8-bit weights as integers of 22 fractional bits


def weights(source: int, size: int, interpolation: str) -> np.ndarray:
    """Weights (size, source), float64, that resample a line of `source` pixels to `size` pixels.

    `bicubic` (Keys' kernel, a = -0.5) and `bilinear` (triangle) are Pillow's: output pixel i looks at
    c = (i + 0.5) s, s = source / size, through the kernel stretched by max(s, 1) (antialiasing), over the pixels
    inside the image only, normalised to sum 1. `bilinear_tf` is tf.image.resize(antialias=False) with half-pixel
    centres: two neighbours of c - 0.5, the edge repeated, however strong the reduction.
    """
    scale = source / size
    centre = (np.arange(size) + 0.5) * scale
    if interpolation == "bilinear_tf":
        return _two_taps(centre - 0.5, source)
    stretch = max(scale, 1.0)
    reach = _SUPPORT[interpolation] * stretch
    first = np.maximum(np.trunc(centre - reach + 0.5), 0)
    last = np.minimum(np.trunc(centre + reach + 0.5), source)
    pixel = np.arange(source)
    distance = (pixel[None, :] + 0.5 - centre[:, None]) / stretch
    value = _cubic(distance) if interpolation == "bicubic" else np.maximum(1 - np.abs(distance), 0)
    value = value * ((pixel >= first[:, None]) & (pixel < last[:, None]))
    value /= value.sum(axis=1, keepdims=True)
    return np.round(value * _FIXED_POINT) / _FIXED_POINT


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' cubic convolution kernel (Keys 1981, eq. 15 with a free a)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _two_taps(position: np.ndarray, source: int) -> np.ndarray:
    low = np.floor(position)
    share = position - low
    value = np.zeros((len(position), source))
    row = np.arange(len(position))
    np.add.at(value, (row, np.clip(low, 0, source - 1).astype(int)), 1 - share)
    np.add.at(value, (row, np.clip(low + 1, 0, source - 1).astype(int)), share)
    return value


def squash(image: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    """One image (H, W, C) uint8, C in {1, 3}, to (size, size, C): no crop, the aspect ratio is not kept.

    `bicubic` and `bilinear` are Pillow's own, a pass at a time.
    """
    if interpolation == "bilinear_tf":
        across = np.einsum("sw,hwc->hsc", weights(image.shape[1], size, interpolation), image)
        down = np.einsum("th,hsc->tsc", weights(image.shape[0], size, interpolation), across)
        return np.floor(down + 0.5).clip(0, 255).astype(np.uint8)
    flat = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image))
    method = _PILLOW[interpolation]
    across_first = flat.resize((size, flat.height), method).resize((size, size), method)
    return np.asarray(across_first).reshape(size, size, image.shape[-1])
