"""Decode image files to RGB uint8."""

import hashlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import open_regular

# Pillow knows 40 formats more, some of which start another program (EPS). AVIF came with Pillow 11.3
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF") + (
    ("AVIF",) if importlib.util.find_spec("PIL.AvifImagePlugin") else ()
)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff")  # of files in folders

# The largest part of a file that may be zero bytes at its end, where its format has no checksum and its decoder makes
# pixels of anything. What Pillow writes of flat images stays below 0.13 as WebP and at 0 as AVIF; BMP and TIFF may hold
# plain pixels, of which black ones are zero
_ZEROS_AT_END = {"WEBP": 0.15, "AVIF": 0.01, "BMP": 0.4, "TIFF": 0.4}

# an image of more than 89 million pixels is refused, not decoded with a warning (Pillow refuses twice as many)
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def image_size(path: Path, where: str, content: bytes | None = None) -> tuple[int, int]:
    """(height, width) from the file's header; `where`, `content` and errors as for `decode`."""
    with _opened(path if content is None else io.BytesIO(content), path, where) as image:
        return image.height, image.width


def is_image(name: str) -> bool:
    """Whether a file in a folder of images is taken for one, by its name: hidden files are not."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def is_grey(path: Path, where: str, content: bytes | None = None) -> bool:
    """Whether the pixels are 8-bit grey or black and white, from the file's header; otherwise as `image_size`."""
    with _opened(path if content is None else io.BytesIO(content), path, where) as image:
        return image.mode in ("L", "1")


def decode(path: Path, where: str, sha256: str | None = None, content: bytes | None = None) -> np.ndarray:
    """The image as (H, W, 3) uint8; `where` is its entry in a list, for errors; sha256: of the file, checked if known.

    content: the bytes of the image where they are in memory; `path` then only names it.

    Grey, palette and CMYK images are converted by Pillow, an alpha channel is dropped, 16-bit grey is scaled by
    1/257 (Pillow would clip it at 255). The first frame of an animation is used; an EXIF orientation is not applied,
    as in TFDS. Raises `UserError` with file and entry for an image that is truncated, that ends in zeros, whose
    checksum is wrong, of 32 bits, or of another format than `FORMATS`.
    """
    try:
        if content is None:
            with open_regular(path) as file:
                content = file.read()
    except OSError as error:
        raise UserError(f"cannot read the image {path} ({where}): {error.strerror}; restore it") from error
    if sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise UserError(f"the image {path} ({where}) changed while the images were prepared; run again")
    with _opened(io.BytesIO(content), path, where) as image:
        pixels = _rgb(image)
        _check_end(content, image.format)
        return pixels


def decode_bytes(content: bytes, where: str) -> np.ndarray:
    """An encoded image of TFDS as (H, W, 3) uint8, converted as in `decode`; `where` names the example.

    Its end is not checked: TFDS has checked the archive, and some of the original files have odd ends.
    """
    with _opened(io.BytesIO(content), Path(where), "its encoded bytes") as image:
        return _rgb(image)


@contextmanager
def _opened(file: Path | io.BytesIO, path: Path, where: str) -> Iterator[Image.Image]:
    """The image of `file`; `path` and `where` name it in the `UserError` of whatever fails while it is open."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            yield image
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and others
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"not an image of a known format ({', '.join(FORMATS)})"
        elif isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
            reason = f"it declares more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels"
        else:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        raise UserError(
            f"cannot read the image {path} ({where}): {reason}; replace the file, or take it out of the images"
        ) from error


def _check_end(content: bytes, kind: str | None) -> None:
    """Raise an error where the end of a file is missing and Pillow would fill the image with pixels of its own."""
    if kind == "PNG":  # Pillow stops reading when it has all pixels, before their checksum
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.verify()
    elif kind in ("JPEG", "MPO") and content.find(b"\xff\xd9", _first_scan(content)) < 0:
        raise ValueError("it has no end (the JPEG marker EOI)")
    zeros = len(content) - len(content.rstrip(b"\0"))
    if zeros > len(content) * _ZEROS_AT_END.get(kind or "", 1):
        raise ValueError(
            f"its last {zeros:,} of {len(content):,} bytes are zero, as after a copy that broke off; if the image is "
            f"right, save it as PNG"
        )


def _first_scan(content: bytes) -> int:
    """Where the pixels of a JPEG file begin; what stands before, such as a thumbnail, may have an end of its own."""
    position = 2
    while content[position] == 0xFF and content[position + 1] != 0xDA:
        filled = content[position + 1] == 0xFF  # a marker may begin with several of them
        position += 1 if filled else 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return position


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
