"""The fine-grained sets as VPT's json files list them. Everything is checked before an image is decoded.

    <root>/train.json, val.json, test.json      {"<image>": <class id>, ...}
    <root>/images/<image>                       cub, nabirds; or
    <root>/Images/<image>                       dogs; or
    <root>/<image>                              cars, flowers

Each set may have any of the three layouts. The class ids need not be contiguous (NABirds'), and a split may lack some:
the label of an id is its place among the sorted ids of ALL splits. Labels numbered in each split by itself, as the
public loaders have it, name other classes in NABirds' val than in its train.
"""

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np

from aoft_bench.data.sources.folder import JSON_LAYOUT
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.errors import UserError

LISTS: Mapping[str, str] = MappingProxyType(dict(zip(SPLITS, ("train.json", "val.json", "test.json"), strict=True)))

_PLACES = ("images", "Images", "")


@dataclass(frozen=True)
class Listing:
    """One json file: image paths relative to the folder of the images, in the file's order, and labels (N,) int64."""

    files: tuple[str, ...]
    labels: np.ndarray


@dataclass(frozen=True)
class JsonSet:
    """A validated set.

    `images` is the folder that the files are relative to, `class_ids[label]` the id that the json files have, and
    `untrained` are the labels without an image in train800 and val200. `stamp` is a SHA-256 over the json files and
    the names, sizes and times of the images, not the path.
    """

    root: Path
    images: Path
    listings: dict[str, Listing]
    classes: int
    class_ids: tuple[int, ...]
    untrained: tuple[int, ...]
    stamp: str

    def where(self, split: str, index: int) -> str:
        """Json file and entry of an image, for messages."""
        return _entry(LISTS[split], self.listings[split].files[index])


def read_set(task: Task, root: Path) -> JsonSet:
    """Read and check the json files in `root`, and that every image is there; no image is opened.

    The splits have the project's names `SPLITS`. Counts other than the task's are no error, see `note`. Raises
    `UserError` naming file, entry and remedy.
    """
    digest = hashlib.sha256()
    entries = {split: _read_json(task, root / name, digest) for split, name in LISTS.items()}
    _check_no_overlap(root, entries)
    class_ids = tuple(sorted({class_id for part in entries.values() for _, class_id in part}))
    label = {class_id: index for index, class_id in enumerate(class_ids)}
    listings = {
        split: Listing(tuple(name for name, _ in part), np.array([label[one] for _, one in part], dtype=np.int64))
        for split, part in entries.items()
    }
    images = _find_images(root, listings["train800"].files[0])
    for split, listing in listings.items():
        _stamp_images(root / LISTS[split], images, listing, digest)
    trained = {*listings["train800"].labels.tolist(), *listings["val200"].labels.tolist()}
    untrained = tuple(sorted(set(label.values()) - trained))
    return JsonSet(root, images, listings, len(class_ids), class_ids, untrained, digest.hexdigest())


def note(task: Task, found: JsonSet) -> str:
    """Why the set cannot stand unmarked beside published rows, for the record."""
    sizes = {split: len(listing.files) for split, listing in found.listings.items()}
    reasons = ["json splits: not verified against VPT's files"]
    return "; ".join(reasons + task.deviations(sizes, found.classes, len(found.untrained)))


def _read_json(task: Task, path: Path, digest: "hashlib._Hash") -> list[tuple[str, int]]:
    """(image, class id) of one json file, in its order."""
    if not path.is_file():
        raise UserError(f"{path.parent} has no {path.name}; the folder of {task.name} holds {JSON_LAYOUT}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; mend its permissions or the set") from error
    digest.update(f"{path.name} {len(content)}\n".encode() + content)
    try:
        entries = json.loads(content, object_pairs_hook=lambda pairs: _unique(path, pairs))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not json ({error}); restore VPT's file") from error
    if not isinstance(entries, dict):
        raise UserError(f"{path} holds {_value(entries)}; write an object {{'<image>': <class id>, ...}}")
    if not entries:
        raise UserError(f"{path} lists no images; write an object {{'<image>': <class id>, ...}}")
    return [(_inside(path, name), _class_id(path, name, value)) for name, value in entries.items()]


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json.loads alone keeps the last of two equal names and says nothing
    entries = dict(pairs)
    if len(entries) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise UserError(f"{path} lists {_cut(repr(twice))} twice; keep one of the two")
    return entries


def _inside(path: Path, name: str) -> str:
    """`name` without '.' parts; refuses one that leaves the folder of the images."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise UserError(f"{_entry(path, name)} points outside the set; write paths relative to the folder of images")
    return str(pure)


def _class_id(path: Path, name: str, value: object) -> int:
    """The id of an entry: an integer, or a string of digits."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{_entry(path, name)}: the class id {_value(value)} is not an integer; write one, such as 7")
    if value < 0:
        raise UserError(f"{_entry(path, name)}: the class id {_value(value)} is negative; write 0 or more")
    return value


def _check_no_overlap(root: Path, entries: dict[str, list[tuple[str, int]]]) -> None:
    seen: dict[str, str] = {}
    for split, part in entries.items():
        for name, _ in part:
            if name in seen:
                where = f"{seen[name]} and {LISTS[split]}"
                raise UserError(
                    f"{root}: the image {_cut(repr(name))} is listed twice, in {where}; keep one of the two"
                )
            seen[name] = LISTS[split]


def _find_images(root: Path, first: str) -> Path:
    """The folder that holds the first listed image: images/, Images/ or the root."""
    for place in _PLACES:
        if os.path.isfile(root / place / first):
            return root / place
    tried = ", ".join(str(root / place) for place in _PLACES)
    raise UserError(
        f"{_entry(root / 'train.json', first)} is in none of the folders {tried}; put the images into one of them"
    )


def _stamp_images(path: Path, images: Path, listing: Listing, digest: "hashlib._Hash") -> None:
    for name in listing.files:
        try:
            found = os.stat(images / name)
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"{_entry(path, name)}: the image is not in {images} ({reason}); restore it or take the entry out"
            ) from error
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            what = "is empty" if stat.S_ISREG(found.st_mode) else "is not a file"
            raise UserError(f"{_entry(path, name)}: the image {what}; restore it or take the entry out")
        digest.update(os.fsencode(name) + f"\0{found.st_size}\0{found.st_mtime_ns}\n".encode())


def _entry(path: Path | str, name: str) -> str:
    return f"{path} entry {_cut(repr(name))}"


def _value(value: object) -> str:
    return _cut(json.dumps(value))  # as the file has it: true, null


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
