"""Decode image files to RGB uint8."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from aoft_bench.utils.errors import UserError


def image_size(path: Path, where: str) -> tuple[int, int]:
    """(height, width) from the file's header; `where` and errors as for `decode`."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:
        raise _unreadable(path, where, error) from error


def is_grey(path: Path, where: str) -> bool:
    """Whether the pixels are 8-bit grey or black and white, from the file's header; errors as for `decode`."""
    try:
        with Image.open(path) as image:
            return image.mode in ("L", "1")
    except Exception as error:
        raise _unreadable(path, where, error) from error


def decode(path: Path, where: str) -> np.ndarray:
    """The image as (H, W, 3) uint8; `where` is its entry in a list, for errors.

    Grey, palette and CMYK images are converted by Pillow, an alpha channel is dropped, 16-bit grey is scaled by
    1/257 (Pillow would clip it at 255). The first frame of an animation is used; an EXIF orientation is not applied,
    as in TFDS. Raises `UserError` with file and entry for a truncated or 32-bit image, or another file.
    """
    try:
        with Image.open(path) as image:
            return _rgb(image)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and others
        raise _unreadable(path, where, error) from error


def decode_bytes(content: bytes, where: str) -> np.ndarray:
    """An encoded image as (H, W, 3) uint8, converted as in `decode`; `where` names the example."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _rgb(image)
    except Exception as error:
        raise _unreadable(Path(where), "its encoded bytes", error) from error


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ValueError("32-bit floating point pixels have no fixed range; save the image with 8 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(np.asarray(image).astype(np.int64))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # type: ignore[assignment]  # Pillow warns if such a palette is converted to RGB
    return np.array(image.convert("RGB"))


def _from_16_bit(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"32-bit pixels ({values.min()} to {values.max()}); save the image with 8 or 16 bits")
    grey = ((values + 128) // 257).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _unreadable(path: Path, where: str, error: Exception) -> UserError:
    if isinstance(error, Image.UnidentifiedImageError):
        reason = "not an image of a known format"
    else:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    return UserError(
        f"cannot read the image {path} ({where}): {reason}; replace the file, or take its line out of the list"
    )
