"""Images that are listed: files named in lists or found in folders, or encoded images in the rows of a table."""

import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from aoft_bench.data import decode
from aoft_bench.data.digests import digests_of
from aoft_bench.data.sources.base import Example, Listed, Shape, Source
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import open_regular
from aoft_bench.utils.text import one_line

_LARGEST = 10**9  # bytes of an image file


@dataclass(frozen=True)
class Listing:
    """The images of one split: file names, labels (N,) int64, and the entry of each in its list, for messages."""

    files: tuple[str, ...]
    labels: np.ndarray
    entries: tuple[str, ...]


@dataclass(frozen=True)
class ListedImages:
    """The checked lists of a task.

    root: the folder of the lists; folder: the one that file names are relative to. class_names: None where they are not
    known. stamp: a SHA-256 over the lists and the names and the content of the images, not over their path. digests:
    the SHA-256 of each image file, by split; empty where images are no files. content: the encoded image of a split and
    a position, None where images are files.
    """

    root: Path
    folder: Path
    listings: dict[str, Listing]
    classes: int
    class_names: tuple[str, ...] | None
    stamp: str
    digests: Mapping[str, Sequence[str]]
    content: Callable[[str, int], bytes] | None = None

    @property
    def sizes(self) -> dict[str, int]:
        return {split: len(listing.files) for split, listing in self.listings.items()}

    @property
    def untrained(self) -> int:
        """The number of classes without an image in train800 and val200."""
        return first_untrained(self.listings, self.classes)[0]

    def read(self, split: str, index: int) -> np.ndarray:
        """An image (H, W, 3) uint8; raises `UserError` as `decode.decode` does, and for one that has changed."""
        digest = self.digests[split][index] if self.digests else None
        return decode.decode(*self._file(split, index), digest, self._content(split, index))

    def size(self, split: str, index: int) -> tuple[int, int]:
        """(height, width) of an image, from its header."""
        return decode.image_size(*self._file(split, index), self._content(split, index))

    def all_grey(self) -> bool:
        """Whether every image is stored as grey, by the headers."""
        return all(
            decode.is_grey(*self._file(split, index), self._content(split, index))
            for split, size in self.sizes.items()
            for index in range(size)
        )

    def source(
        self,
        kind: str,
        note: str,
        official_note: str,
        *,
        ids: bool = True,
        cropped: bool = False,
        drawn: Mapping[str, Any] | None = None,
    ) -> Source:
        """The images as a source, which may lack splits.

        ids: whether their names are their ids. cropped: whether they are cropped when they are used, and so keep their
        shape. drawn: what was drawn already, if anything was.
        """

        @cache
        def channels() -> int:
            return 1 if self.all_grey() else 3  # a grey task takes a third of the disk

        def native_shape(limit: int) -> Shape | None:
            """Reads headers until one image differs from the first or is too large."""
            first = None
            for split, size in self.sizes.items():
                for index in range(size):
                    shape = self.size(split, index)
                    first = first or shape
                    if shape != first or max(shape) > limit:
                        return None
            return (*first, channels()) if first else None

        def read(split: str, index: int) -> Example:
            listing = self.listings[split]
            image = self.read(split, index)[..., : 3 if cropped else channels()]
            return Example(image, int(listing.labels[index]), listing.files[index] if ids else "")

        def native_sizes() -> dict[str, np.ndarray]:
            return {
                split: np.array([self.size(split, index) for index in range(size)], np.int64)
                for split, size in self.sizes.items()
            }

        return Source(
            kind=kind,
            note=one_line(note),
            official=False,
            official_note=official_note,
            classes=self.classes,
            class_names=self.class_names,
            stamp=self.stamp,
            sizes=self.sizes,
            native_shape=native_shape,
            channels=(lambda: 3) if cropped else channels,
            read=read,
            native_sizes=native_sizes if cropped else None,
            listed=self.listed,
            drawn=drawn,
        )

    @property
    def listed(self) -> dict[str, Listed]:
        return {split: Listed(listing.labels, listing.files) for split, listing in self.listings.items()}

    def _content(self, split: str, index: int) -> bytes | None:
        return self.content(split, index) if self.content else None

    def _file(self, split: str, index: int) -> tuple[Path, str]:
        listing = self.listings[split]
        return self.folder / listing.files[index], listing.entries[index]


def first_untrained(listings: Mapping[str, Listing], classes: int) -> tuple[int, int]:
    """How many classes have no image in train800 and val200, and the first of them (`classes` where there is none)."""
    parts = [listings[split].labels for split in ("train800", "val200") if split in listings]
    trained = np.unique(np.concatenate(parts))
    gaps = np.flatnonzero(trained != np.arange(len(trained)))
    return classes - len(trained), int(gaps[0]) if len(gaps) else len(trained)


def check_trained(
    what: str, where: str, classes: int, listings: Mapping[str, Listing], names: Sequence[str] | None
) -> None:
    """Raise `UserError` for a single class, and for one without a training image. what: the images, in words; where:
    the lists of those that train."""
    if classes < 2:
        raise UserError(f"{what} has {classes} class; classification needs at least 2")
    untrained, first = first_untrained(listings, classes)
    if untrained:
        named = f"{first}" + (f" ({names[first]})" if names else "")
        more = f" and {untrained - 1:,} more" if untrained > 1 else ""
        remedy = "" if names else f", or number the labels 0 to {classes - 1 - untrained} without gaps"
        raise UserError(f"{what} has no image of class {named}{more} in {where}; add one{remedy}")


def read_list(path: Path, digest: "hashlib._Hash", kind: str) -> bytes:
    """The content of a list, added to `digest`; `kind` names what has to be mended if it cannot be read."""
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; mend its permissions or the {kind}") from error
    digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return content


def relative(name: str) -> str | None:
    """`name` without '.' parts; None if it is absolute or contains '..'."""
    pure = PurePosixPath(name)
    return None if pure.is_absolute() or ".." in pure.parts else str(pure)


def check_name(name: str) -> str:
    """What is wrong with the name of an image, in words; empty where a manifest, a line each, can hold it."""
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "holds a control character"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return ""


def file_state(path: Path, image: str, missing: str, entry: str) -> os.stat_result:
    """What `os.stat` says of an image.

    Raises `UserError` where it is missing, empty, too large or no file. The message begins with `image`, says `missing`
    for an image that is missing, and suggests to remove the `entry` of the list.
    """
    remedy = f"restore it or take the {entry} out"
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{image} is {missing} ({reason}); {remedy}") from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{image} is not a file; {remedy}")
    if not 0 < found.st_size <= _LARGEST:
        what = f"has {found.st_size / 1e9:.1f} GB, more than any image" if found.st_size else "is empty"
        raise UserError(f"{image} {what}; {remedy}")
    return found


def stamp_images(
    folder: Path,
    listings: Mapping[str, Listing],
    states: Sequence[os.stat_result],
    digest: "hashlib._Hash",
    memory: Path | None,
) -> dict[str, tuple[str, ...]]:
    """Add the names and the content of all images to `digest`; returns the SHA-256 of each, by split.

    states: see `file_state`, in the order of the listings. memory: see `digests_of`.
    """
    paths = [folder / name for listing in listings.values() for name in listing.files]
    try:
        found = digests_of(paths, states, memory, f"the images of {folder.name}")
    except OSError as error:
        raise UserError(f"cannot read the image {error.filename}: {error.strerror}; mend its permissions") from error
    each = iter(found)
    digests = {split: tuple(islice(each, len(listing.files))) for split, listing in listings.items()}
    for split, listing in listings.items():
        for name, content in zip(listing.files, digests[split], strict=True):
            digest.update(os.fsencode(name) + f"\0{content}\n".encode())
    return digests


def shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
