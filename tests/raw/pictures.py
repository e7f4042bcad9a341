"""Pictures for the raw archives, and their files."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

_SIDE = 8  # of a JPEG block
_TINTS = ((128, 128), (118, 134), (140, 122), (122, 142), (136, 116))  # Cb, Cr
_DAY = (2026, 1, 1, 0, 0, 0)  # archives of the same seed have the same bytes


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Independent random pixels (height, width, 3): no two pictures alike, and hard on every JPEG decoder."""
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def enlarged(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image (H, W, 3) at another size, smooth between its pixels."""
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def blocks(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A picture (8 rows, 8 columns, 3) that JPEG of quality 95 keeps bit for bit, however often it is encoded again.

    Each 8 x 8 block has one brightness, so only its mean is stored, in steps of 1/4. The whole picture has one hue, so
    that no decoder blurs an edge of chroma.
    """
    colours = _lossless()
    tint = colours[int(rng.integers(len(colours)))]
    return tint[rng.integers(0, len(tint), (rows, columns))].repeat(_SIDE, axis=0).repeat(_SIDE, axis=1)


@cache
def _lossless() -> list[np.ndarray]:
    """For each hue the RGB colours (n, 3) that conversion to YCbCr and back keeps (ITU-R BT.601, full range)."""
    found = []
    for cb, cr in _TINTS:
        y = np.arange(40, 216)
        blue, red = cb - 128, cr - 128
        rgb = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], axis=1).round()
        again_y = rgb @ (0.299, 0.587, 0.114)
        again = np.stack([again_y, (rgb[:, 2] - again_y) / 1.772 + 128, (rgb[:, 0] - again_y) / 1.402 + 128], axis=1)
        # a value close to a half may be rounded either way in fixed-point arithmetic
        safe = (np.abs(again - np.stack([y, 0 * y + cb, 0 * y + cr], axis=1)) < 0.45).all(axis=1)
        found.append(rgb[safe].astype(np.uint8))
    return found


def encoded(image: np.ndarray, kind: str = "JPEG", quality: int = 95) -> bytes:
    """The bytes of an image file: `image` is (H, W), (H, W, 3) or (H, W, 4) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    """Pillow's decode of an image file as (H, W, 3) uint8; grey is tiled, an alpha channel dropped."""
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGB"))


def tarred(files: Mapping[str, bytes]) -> bytes:
    """A .tar.gz of the files, in their order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), 1, mtime=0)


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A .zip of the files, in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DAY), content)
    return buffer.getvalue()


def put(path: Path, content: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
