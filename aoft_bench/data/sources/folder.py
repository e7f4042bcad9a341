"""The folder pack: images beside three lists. Everything is checked before an image is decoded.

    <pack>/images/train800/000000.jpg
    <pack>/train800.txt, val200.txt, test.txt       lines: "images/train800/000000.jpg 307"
    <pack>/classes.txt                              optional; line i is the name of class i

The label is the last word of a line, so file names may contain spaces. A list train800val200.txt is not read.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.errors import UserError

ENVIRONMENT = "AOFT_BENCH_DATA"
LAYOUT = "images/<split>/... with train800.txt, val200.txt, test.txt of lines '<image> <label>'"
JSON_LAYOUT = "the images with train.json, val.json, test.json of {<image>: <class id>}, as VPT published them"


@dataclass(frozen=True)
class Listing:
    """One list: image paths relative to the pack, labels (N,) int64, and the line each entry stands on."""

    files: tuple[str, ...]
    labels: np.ndarray
    lines: tuple[int, ...]


@dataclass(frozen=True)
class Pack:
    """A validated pack; `stamp` is a SHA-256 over lists and the names, sizes and times of the images, not the path."""

    root: Path
    listings: dict[str, Listing]
    classes: int
    class_names: tuple[str, ...] | None
    untrained: tuple[int, ...]
    stamp: str

    def where(self, split: str, index: int) -> str:
        """List and line of an image, for messages."""
        return f"{split}.txt line {self.listings[split].lines[index]}"


def layout(task: Task) -> str:
    """What the folder of a task holds, in a sentence."""
    return JSON_LAYOUT if task.suite == "fgvc" else LAYOUT


def _lists(task: Task) -> list[str]:
    return ["train.json", "val.json", "test.json"] if task.suite == "fgvc" else [f"{split}.txt" for split in SPLITS]


def find_pack(task: Task, root: Path | None) -> Path:
    """The folder with the lists of `task`: `root`, or inside it; without one, the default locations.

    Raises `UserError` that says what was looked for and how to get it.
    """
    if root is None:
        return _in_default_places(task)
    root = root.expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"data.root={root} {what}; give the folder of a pack: {layout(task)}")
    if any((root / name).exists() for name in _lists(task)):
        return root
    for name in task.folders:
        if (root / name).is_dir():
            return root / name
    inside = f", nor a folder {' or '.join(task.folders)}" if task.folders else ""
    raise UserError(f"data.root={root} holds no {_lists(task)[0]}{inside}; it should be {layout(task)}")


def default_pack(task: Task) -> Path | None:
    """The first folder of a task in the default locations, or None."""
    return next((folder for folder in _default_folders(task) if folder.is_dir()), None)


def _default_folders(task: Task) -> list[Path]:
    roots = [Path("data/packs")]
    if os.environ.get(ENVIRONMENT):
        roots.append(Path(os.environ[ENVIRONMENT]).expanduser())
    return [root / name for root in roots for name in task.folders]


def _in_default_places(task: Task) -> Path:
    if not task.folders:
        raise UserError(f"dataset={task.name} needs data.root=<folder of your pack>: {LAYOUT}")
    found = default_pack(task)
    if found:
        return found
    tried = ", ".join(map(str, _default_folders(task)))
    unset = "" if os.environ.get(ENVIRONMENT) else f" (${ENVIRONMENT} is not set)"
    raise UserError(
        f"no folder of {task.name}: looked for {tried}{unset}; put it there or give data.root=<folder> ({layout(task)})"
    )


def read_pack(task: Task, root: Path) -> Pack:
    """Read and check the lists, and that every image is there; no image is opened.

    The number of classes is that of classes.txt where there is one, else `task.classes`, else the largest label + 1.
    Raises `UserError` naming list, line and remedy.
    """
    digest = hashlib.sha256()
    contents = {split: _read_list(root, split, digest) for split in SPLITS}
    names = _read_classes(task, root, digest)
    limit = len(names) if names else task.classes
    allowed = f"{limit} classes" + (" in classes.txt" if names else f" of {task.name}")
    listings = {split: _parse(root / f"{split}.txt", text, limit, allowed) for split, text in contents.items()}
    classes = limit or 1 + max(int(listing.labels.max()) for listing in listings.values())
    _check_no_overlap(root, listings)
    untrained = _untrained(listings, classes)
    if task.suite == "own":
        _check_own(root, classes, untrained, names)
    for split, listing in listings.items():
        _stamp_images(root, split, listing, digest)
    return Pack(root, listings, classes, names, untrained, digest.hexdigest())


def _read_text(path: Path, digest: "hashlib._Hash") -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; mend its permissions or the pack") from error
    digest.update(f"{path.name} {len(content)}\n".encode() + content)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save the list as plain UTF-8") from error


def _read_list(root: Path, split: str, digest: "hashlib._Hash") -> str:
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
    """Entries of one list; a label must lie in [0, limit), or only be >= 0 where limit is 0."""
    files, labels, lines = [], [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        words = line.strip().rsplit(maxsplit=1)
        if len(words) != 2:
            raise UserError(f"{path} line {number}: got {_short(line)}; write '<image> <label>'")
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", words[1]):
            raise UserError(f"{path} line {number}: the label {_short(words[1])} is not an integer; write 0, 1, 2, ...")
        label = int(words[1])
        if label < 0:
            raise UserError(f"{path} line {number}: the label {label} is negative; labels count from 0")
        if limit and label >= limit:
            raise UserError(
                f"{path} line {number}: the label {label} is out of range for the {allowed}; allowed: 0 to {limit - 1}"
            )
        files.append(_inside(path, number, words[0]))
        labels.append(label)
        lines.append(number)
    if not files:
        raise UserError(f"{path} lists no images; write one '<image> <label>' a line")
    return Listing(tuple(files), np.array(labels, dtype=np.int64), tuple(lines))


def _inside(path: Path, number: int, name: str) -> str:
    """`name` without '.' parts; refuses one that leaves the pack."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise UserError(f"{path} line {number}: {_short(name)} points outside the pack; write paths relative to it")
    return str(PurePosixPath(name))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _check_no_overlap(root: Path, listings: dict[str, Listing]) -> None:
    seen: dict[str, str] = {}
    for split, listing in listings.items():
        for name, line in zip(listing.files, listing.lines, strict=True):
            here = f"{split}.txt line {line}"
            if name in seen:
                raise UserError(f"{root}: {name} is listed twice, in {seen[name]} and {here}; keep one of the two")
            seen[name] = here


def _untrained(listings: dict[str, Listing], classes: int) -> tuple[int, ...]:
    """Classes without an image in train800 and val200."""
    trained = set(listings["train800"].labels.tolist()) | set(listings["val200"].labels.tolist())
    return tuple(sorted(set(range(classes)) - trained))


def _check_own(root: Path, classes: int, untrained: tuple[int, ...], names: tuple[str, ...] | None) -> None:
    # of the VTAB tasks it is not demanded: 1000 images of 397 classes leave some of sun397 out
    if classes < 2:
        raise UserError(f"the pack {root} has {classes} class; classification needs at least 2")
    if untrained:
        first = f"{untrained[0]}" + (f" ({names[untrained[0]]})" if names else "")
        more = f" and {len(untrained) - 1} more" if len(untrained) > 1 else ""
        raise UserError(
            f"the pack {root} has no image of class {first}{more} in train800.txt or val200.txt; "
            f"add one, or number the labels 0 to {classes - 1 - len(untrained)} without gaps"
        )


def _stamp_images(root: Path, split: str, listing: Listing, digest: "hashlib._Hash") -> None:
    for name, line in zip(listing.files, listing.lines, strict=True):
        where = f"{root / split}.txt line {line}: the image {_short(name)}"
        try:
            found = os.stat(root / name)
        except OSError as error:
            raise UserError(f"{where} is not there ({error.strerror}); restore it or take the line out") from error
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            what = "empty" if stat.S_ISREG(found.st_mode) else "not a file"
            raise UserError(f"{where} is {what}; restore it or take the line out")
        digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
