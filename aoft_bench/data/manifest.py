"""Split manifests: which images a prepared task contains, by id and by content, however they are stored.

    # aoft_bench manifest 1
    # task cifar100
    train800	0	19	train_16399	5c1f0a...

One line for each image: split, position, label, id in the source ("" if it has none) and the digest of its native
pixels. The gzip header has no time, so that equal manifests are equal files.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import open_regular

NAME = "manifest.tsv.gz"
_HEADER = "# aoft_bench manifest 1"


class ManifestRow(NamedTuple):
    """One image: its label, its id in the source ("" if it has none) and the digest of its content."""

    label: int
    id: str
    digest: str


Manifest = Mapping[str, tuple[ManifestRow, ...]]


def digest(image: np.ndarray) -> str:
    """The first 128 bits, in hex, of the SHA-256 of "H W " and the RGB bytes of an image (H, W, C) uint8.

    A grey image (C = 1) counts as the RGB image of equal channels, as for the model.
    """
    height, width, channels = image.shape
    rgb = np.repeat(image, 3, axis=2) if channels == 1 else np.ascontiguousarray(image)
    hashed = hashlib.sha256(f"{height} {width} ".encode())
    hashed.update(rgb.reshape(-1).data)
    return hashed.hexdigest()[:32]


def write(path: Path, task: str, manifest: Mapping[str, Iterable[ManifestRow]]) -> str:
    """Write a manifest; returns the SHA-256 of its text, which records store."""
    lines = [_HEADER, f"# task {task}"]
    for split, rows in manifest.items():
        lines += [f"{split}\t{index}\t{row.label}\t{row.id}\t{row.digest}" for index, row in enumerate(rows)]
    text = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(text, compresslevel=6, mtime=0))
    return hashlib.sha256(text).hexdigest()


def read(path: Path, sha256: str | None = None) -> dict[str, tuple[ManifestRow, ...]]:
    """Read a manifest; raises `UserError` for a damaged one, or one with another SHA-256 than `sha256`."""
    try:
        with open_regular(path) as file:
            text = gzip.decompress(file.read())
    except FileNotFoundError:
        raise UserError(f"the manifest {path} is missing; delete {path.parent} and prepare again") from None
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the manifest {path}: {why}; delete {path.parent} and prepare again") from error
    if sha256 is not None and hashlib.sha256(text).hexdigest() != sha256:
        raise UserError(f"the manifest {path} is corrupt (its SHA-256 does not match); delete {path.parent}")
    splits: dict[str, list[ManifestRow]] = {}
    try:
        for line in text.decode().rstrip("\n").split("\n"):  # an id may hold other characters that end a line
            if not line.startswith("#"):
                split, _, label, name, content = line.split("\t")
                splits.setdefault(split, []).append(ManifestRow(int(label), name, content))
    except ValueError:
        raise UserError(f"the manifest {path} is corrupt; delete {path.parent} and prepare again") from None
    return {split: tuple(rows) for split, rows in splits.items()}
