"""Decode image files to RGB uint8."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from aoft_bench.utils.errors import UserError


def image_size(path: Path, where: str) -> tuple[int, int]:
    """(height, width) from the file's header; `where` and errors as for `decode`."""
    with _opened(path, path, where) as image:
        return image.height, image.width


def is_grey(path: Path, where: str) -> bool:
    """Whether the pixels are 8-bit grey or black and white, from the file's header; errors as for `decode`."""
    with _opened(path, path, where) as image:
        return image.mode in ("L", "1")


def decode(path: Path, where: str) -> np.ndarray:
    """The image as (H, W, 3) uint8; `where` is its entry in a list, for errors.

    Grey, palette and CMYK images are converted by Pillow, an alpha channel is dropped, 16-bit grey is scaled by
    1/257 (Pillow would clip it at 255). The first frame of an animation is used; an EXIF orientation is not applied,
    as in TFDS. Raises `UserError` with file and entry for a truncated or 32-bit image, or another file.
    """
    with _opened(path, path, where) as image:
        return _rgb(image)


def decode_bytes(content: bytes, where: str) -> np.ndarray:
    """An encoded image as (H, W, 3) uint8, converted as in `decode`; `where` names the example."""
    with _opened(io.BytesIO(content), Path(where), "its encoded bytes") as image:
        return _rgb(image)


@contextmanager
def _opened(file: Path | io.BytesIO, path: Path, where: str) -> Iterator[Image.Image]:
    """The image of `file`; `path` and `where` name it in the `UserError` of whatever fails while it is open."""
    try:
        with Image.open(file) as image:
            yield image
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and others
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not an image of a known format"
        else:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        raise UserError(
            f"cannot read the image {path} ({where}): {reason}; replace the file, or take its line out of the list"
        ) from error


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
