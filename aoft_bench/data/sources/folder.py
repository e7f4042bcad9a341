"""The folder pack: images beside three lists. Everything is checked before an image is decoded.

    <pack>/images/train800/000000.jpg
    <pack>/train800.txt, val200.txt, test.txt       lines: "images/train800/000000.jpg 307"
    <pack>/classes.txt                              optional; line i is the name of class i

The label is the last word of a line, so file names may contain spaces. A list train800val200.txt is not read.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aoft_bench.data.locations import Locations, find_pack
from aoft_bench.data.sources.base import Source
from aoft_bench.data.sources.listing import (
    ListedImages,
    Listing,
    check_trained,
    file_state,
    read_list,
    relative,
    shortened,
    stamp_images,
)
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.errors import UserError


def from_folder(task: Task, locations: Locations) -> Source:
    """The folder pack of a task; raises `UserError` where there is none or its lists are wrong."""
    root = find_pack(task, locations.root)
    pack = read_pack(task, root, locations.digests_of(task, root))
    note = "a pack of the user's own"
    if task.suite != "own":
        reasons = ["folder pack: not verified against the official split"]
        note = "; ".join(reasons + task.deviations(pack.sizes, pack.classes, pack.untrained))
    kinds = sorted({Path(file).suffix.lower() or "no suffix" for one in pack.listings.values() for file in one.files})

    # a pack has no proof of its origin: the published ones are lossy JPEG copies
    return pack.source("folder", f"folder pack {pack.root.resolve().name}, images {' '.join(kinds)}", note, ids=False)


def holds(root: Path) -> bool:
    """Whether `root` is a folder with a list of a pack."""
    return any((root / f"{split}.txt").exists() for split in SPLITS)


def read_pack(task: Task, root: Path, memory: Path | None = None) -> ListedImages:
    """Read and check the lists, and that every image is there; no image is decoded.

    memory: where the digests of the images are remembered, see `digests`. The number of classes is that of classes.txt
    where there is one, else `task.classes`, else the largest label + 1. Raises `UserError` that names the list, the
    line and the remedy.
    """
    digest = hashlib.sha256()
    texts = {split: _read_split(root, split, digest) for split in SPLITS}
    names = _read_classes(task, root, digest)
    limit = len(names) if names else task.classes
    allowed = f"{limit} classes" + (" in classes.txt" if names else f" of {task.name}")
    listings = {split: _parse(root / f"{split}.txt", text, limit, allowed) for split, text in texts.items()}
    classes = limit or 1 + max(int(listing.labels.max()) for listing in listings.values())
    _check_no_overlap(root, listings)
    if task.suite == "own":  # VTAB's 1,000 images of 397 classes leave some of sun397 out
        check_trained(f"the pack {root}", "train800.txt or val200.txt", classes, listings, names)
    states = [
        file_state(root / name, f"{root / entry}: the image {shortened(repr(name))}", "not there", "line")
        for listing in listings.values()
        for name, entry in zip(listing.files, listing.entries, strict=True)
    ]
    digests = stamp_images(root, listings, states, digest, memory)
    return ListedImages(root, root, listings, classes, names, digest.hexdigest(), digests)


def _read_text(path: Path, digest: "hashlib._Hash") -> str:
    try:
        return read_list(path, digest, "pack").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save the list as plain UTF-8") from error


def _read_split(root: Path, split: str, digest: "hashlib._Hash") -> str:
    path = root / f"{split}.txt"
    if path.is_file():
        return _read_text(path, digest)
    joint = split != "test" and (root / "train800val200.txt").is_file()
    more = " (train800val200.txt alone does not tell the two apart)" if joint else ""
    raise UserError(f"the pack {root} has no {split}.txt{more}; write it, one '<image> <label>' a line")


def _read_classes(task: Task, root: Path, digest: "hashlib._Hash") -> tuple[str, ...] | None:
    path = root / "classes.txt"
    if not path.exists():
        return None
    names = [line.strip() for line in _read_text(path, digest).rstrip().splitlines()]
    if "" in names or not names:
        raise UserError(f"{path} line {names.index('') + 1 if names else 1} is empty; line i names class i, from 0")
    if task.classes and len(names) > task.classes:
        raise UserError(
            f"{path} names {len(names)} classes but {task.name} has {task.classes}; "
            f"use the pack of {task.name}, or dataset=folder for a task of your own"
        )
    return tuple(names)


def _parse(path: Path, text: str, limit: int, allowed: str) -> Listing:
    """The entries of one list; labels must be in [0, limit), or not negative with limit 0."""
    found = list(_entries(path, text, limit, allowed))
    if not found:
        raise UserError(f"{path} lists no images; write one '<image> <label>' a line")
    files, labels, entries = zip(*found, strict=True)
    return Listing(files, np.array(labels, dtype=np.int64), entries)


def _entries(path: Path, text: str, limit: int, allowed: str) -> Iterator[tuple[str, int, str]]:
    """File name, label and entry of each line that is not blank."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        entry = f"{path} line {number}"
        name, *rest = line.strip().rsplit(maxsplit=1)
        if not rest:
            raise UserError(f"{entry}: got {shortened(repr(line))}; write '<image> <label>'")
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", rest[0]):
            label_text = shortened(repr(rest[0]))
            raise UserError(f"{entry}: the label {label_text} is not an integer; write 0, 1, 2, ...")
        label = int(rest[0])
        if label < 0:
            raise UserError(f"{entry}: the label {label} is negative; labels count from 0")
        if limit and label >= limit:
            raise UserError(f"{entry}: the label {label} is out of range for the {allowed}; allowed: 0 to {limit - 1}")
        file = relative(name)
        if file is None:
            raise UserError(f"{entry}: {shortened(repr(name))} points outside the pack; write paths relative to it")
        yield file, label, f"{path.name} line {number}"


def _check_no_overlap(root: Path, listings: dict[str, Listing]) -> None:
    seen: dict[str, str] = {}
    for listing in listings.values():
        for name, entry in zip(listing.files, listing.entries, strict=True):
            if name in seen:
                raise UserError(f"{root}: {name} is listed twice, in {seen[name]} and {entry}; keep one of the two")
            seen[name] = entry
