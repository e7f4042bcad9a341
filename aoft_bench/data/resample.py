"""Resizing with NumPy and Pillow; `transforms` does the same on any device.

Every filter is separable: out = V @ image @ H^T with V (size, height) and H (size, width), rows summing to 1. The
order of the two passes matters, because Pillow rounds and clamps between them: up to 20 grey levels beside hard edges.
We resize the width first, then the height, as every Pillow before 13 does. Pillow 13 resizes the height first where it
shrinks more than the width (python-pillow/Pillow pull request 9549), so the data would depend on the version installed.
"""

import numpy as np
from PIL import Image

from aoft_bench.utils.errors import UserError, unknown

INTERPOLATIONS = ("bicubic", "bilinear", "bilinear_tf")

_PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_SUPPORT = {"bicubic": 2.0, "bilinear": 1.0}
_FIXED_POINT = 2.0**22  # Pillow stores its 8-bit weights as integers of 22 fractional bits


def weights(source: int, size: int, interpolation: str) -> np.ndarray:
    """Weights (size, source), float64, that resample a line of `source` pixels to `size` pixels.

    `bicubic` (Keys' kernel, a = -0.5) and `bilinear` (triangle) are Pillow's: the kernel is centred at
    c = (i + 0.5) s for output pixel i, s = source / size, stretched by max(s, 1) (antialiasing), restricted to the
    pixels of the image and normalised to sum 1. `bilinear_tf` is tf.image.resize(antialias=False) with half-pixel
    centres: the two neighbours of c - 0.5 for any s, with the edge pixel repeated.
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


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel (Keys 1981, eq. 15), whose free parameter a is that of Pillow."""
    x, a = np.abs(x), -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _two_taps(position: np.ndarray, source: int) -> np.ndarray:
    """Linear weights of the two pixels around each position."""
    low = np.floor(position)
    share = position - low
    value = np.zeros((len(position), source))
    row = np.arange(len(position))
    np.add.at(value, (row, np.clip(low, 0, source - 1).astype(int)), 1 - share)
    np.add.at(value, (row, np.clip(low + 1, 0, source - 1).astype(int)), share)
    return value


def squash(image: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    """One image (H, W, C) uint8, C in {1, 3}, to (size, size, C): no crop, the aspect ratio is not kept.

    `bicubic` and `bilinear` call Pillow, once for each pass.
    """
    if interpolation == "bilinear_tf":
        across = np.einsum("sw,hwc->hsc", weights(image.shape[1], size, interpolation), image)
        down = np.einsum("th,hsc->tsc", weights(image.shape[0], size, interpolation), across)
        return np.floor(down + 0.5).clip(0, 255).astype(np.uint8)
    resized = _resized_by_pillow(image[..., 0] if image.shape[-1] == 1 else image, size, size, interpolation)
    return resized.reshape(size, size, image.shape[-1])


def _resized_by_pillow(image: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """The width first, then the height."""
    method = _PILLOW[interpolation]
    original = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(original.resize((width, original.height), method).resize((width, height), method))


def short_side_for_crop(image_size: int) -> int:
    """The short side before a crop of `image_size`: round(image_size * 256 / 224), so 256 for 224."""
    return round(image_size * 256 / 224)


def short_side_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of the result of `resize_short_side`: `size`, and int(size * long / short)."""
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def resize_short_side(image: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    """One image (H, W, 3) uint8 resized to a short side of `size`, the aspect ratio kept; (H', W', 3) uint8.

    Equals torchvision.transforms.Resize(size) on a PIL image for `bicubic` and `bilinear` (VPT has torchvision's
    default, bilinear), but for the order of the two passes in Pillow 13, see above. Raises `UserError` for
    `bilinear_tf`, which is for squashing only, and for unknown names.
    """
    if interpolation not in INTERPOLATIONS:
        raise unknown("interpolation", interpolation, _PILLOW)
    if interpolation not in _PILLOW:
        raise UserError(
            f"the interpolation {interpolation} is not defined for resizing by the short side; "
            f"choose data.interpolation={' or '.join(sorted(_PILLOW, reverse=True))}"
        )
    height, width = short_side_shape(image.shape[0], image.shape[1], size)
    return _resized_by_pillow(image, height, width, interpolation)
