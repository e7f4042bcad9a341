"""Image files to RGB uint8, and what to say about those that cannot be read."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from aoft_bench.utils.errors import UserError


def image_size(path: Path, where: str) -> tuple[int, int]:
    """(height, width) from the file's header; `where` names the list and line. Raises as `decode` does."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:
        raise _unreadable(path, where, error) from error


def is_grey(path: Path, where: str) -> bool:
    """Whether the file's header says that it holds 8-bit grey (or black and white) pixels. Raises as `decode` does."""
    try:
        with Image.open(path) as image:
            return image.mode in ("L", "1")
    except Exception as error:
        raise _unreadable(path, where, error) from error


def decode(path: Path, where: str) -> np.ndarray:
    """The image as (H, W, 3) uint8; `where` names the list and line it comes from.

    Grey, palette and CMYK images are converted by Pillow, an alpha channel is dropped, 16-bit grey is scaled by
    1/257 (Pillow alone would clip it at 255). Of an animation the first frame counts, and an EXIF orientation is not
    applied, as in TFDS. Raises `UserError` naming file and line for what is truncated, no image, or 32-bit.
    """
    try:
        with Image.open(path) as image:
            return _rgb(image)
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and others
        raise _unreadable(path, where, error) from error


def decode_bytes(content: bytes, where: str) -> np.ndarray:
    """An encoded image as (H, W, 3) uint8, by the rules of `decode`; `where` names the example."""
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
        image = image.convert("RGBA")  # type: ignore[assignment]  # Pillow warns when such a palette goes to RGB
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
