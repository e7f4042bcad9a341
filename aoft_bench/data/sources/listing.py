"""Image files that are named in lists, as in folder packs and in FGVC's json files."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from aoft_bench.data import decode
from aoft_bench.utils.errors import UserError


@dataclass(frozen=True)
class Listing:
    """The images of one split: file names, labels (N,) int64, and the entry of each in its list, for messages."""

    files: tuple[str, ...]
    labels: np.ndarray
    entries: tuple[str, ...]


@dataclass(frozen=True)
class ListedImages:
    """The three checked lists of a task.

    root: the folder of the lists; folder: the one that file names are relative to. class_names: None where they are not
    known. stamp: a SHA-256 over the lists and the names, sizes and times of the images, not over their path.
    """

    root: Path
    folder: Path
    listings: dict[str, Listing]
    classes: int
    class_names: tuple[str, ...] | None
    stamp: str

    @property
    def sizes(self) -> dict[str, int]:
        return {split: len(listing.files) for split, listing in self.listings.items()}

    @property
    def untrained(self) -> tuple[int, ...]:
        """Classes without an image in train800 and val200."""
        return untrained_classes(self.listings, self.classes)

    def read(self, split: str, index: int) -> np.ndarray:
        """An image (H, W, 3) uint8; raises `UserError` as `decode.decode` does."""
        return decode.decode(*self._file(split, index))

    def size(self, split: str, index: int) -> tuple[int, int]:
        """(height, width) of an image, from its header."""
        return decode.image_size(*self._file(split, index))

    def all_grey(self) -> bool:
        """Whether every image is stored as grey, by the headers."""
        return all(
            decode.is_grey(*self._file(split, index)) for split, size in self.sizes.items() for index in range(size)
        )

    def _file(self, split: str, index: int) -> tuple[Path, str]:
        listing = self.listings[split]
        return self.folder / listing.files[index], listing.entries[index]


def untrained_classes(listings: dict[str, Listing], classes: int) -> tuple[int, ...]:
    trained = {*listings["train800"].labels.tolist(), *listings["val200"].labels.tolist()}
    return tuple(sorted(set(range(classes)) - trained))


def read_list(path: Path, digest: "hashlib._Hash", kind: str) -> bytes:
    """The content of a list, added to `digest`; `kind` names what has to be mended if it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; mend its permissions or the {kind}") from error
    digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return content


def relative(name: str) -> str | None:
    """`name` without '.' parts; None if it is absolute or contains '..'."""
    pure = PurePosixPath(name)
    return None if pure.is_absolute() or ".." in pure.parts else str(pure)


def stamp_file(path: Path, name: str, digest: "hashlib._Hash", image: str, missing: str, entry: str) -> None:
    """Add name, size and time of an image to `digest`.

    Raises `UserError` where it is missing, empty or no file. The message begins with `image`, says `missing` for an
    image that is missing, and suggests to remove the `entry` of the list.
    """
    remedy = f"restore it or take the {entry} out"
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{image} is {missing} ({reason}); {remedy}") from error
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        what = "empty" if stat.S_ISREG(found.st_mode) else "not a file"
        raise UserError(f"{image} is {what}; {remedy}")
    digest.update(os.fsencode(name) + f"\0{found.st_size}\0{found.st_mtime_ns}\n".encode())


def shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
