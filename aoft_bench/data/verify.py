"""Check a cache: that its files are complete and agree, and that its examples are those of the official list."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aoft_bench.data import cache as store
from aoft_bench.data import manifest as manifests
from aoft_bench.data.manifest import Manifest, ManifestRow
from aoft_bench.data.prepared_task import PreparedTask
from aoft_bench.data.tasks import Task
from aoft_bench.data.tfds import official
from aoft_bench.utils.errors import UserError


def check_files(directory: Path, meta: Mapping[str, Any]) -> None:
    """Raise `UserError` where a file of a cache is missing or shorter than its header says.

    The message names the file and the remedy. No pixel is read; `verify` reads everything.
    """
    for name in (*meta["files"], manifests.NAME):
        _check_file(directory / name)


def _check_file(path: Path) -> None:
    if path.suffix == ".npy":
        store.map_array(path)
        return
    try:
        path.stat()
    except FileNotFoundError:
        raise UserError(_broken(path, "is missing")) from None
    except OSError as error:
        raise store.unreadable(path, error) from error


@dataclass(frozen=True)
class Verdict:
    """What was found in a cache.

    problems: texts that name the file and the remedy. sound: what was checked, in words, if there are none. official:
    whether a cache from TFDS has the official ids; None where that is not known, and for other sources.
    """

    problems: tuple[str, ...]
    sound: str = ""
    official: bool | None = None


def verify(task: Task, directory: Path) -> Verdict:
    """Read all of a cache and compare its parts with each other and with the official list.

    Checked are meta.json, the SHA-256 of arrays and manifest, that labels are in [0, classes), the labels of the
    manifest, its digests where images are cached at native size, and its ids where the source is TFDS. Every
    part is checked, also after a problem.
    """
    try:
        meta = PreparedTask.open(task, directory).meta
    except UserError as error:
        return Verdict((str(error),))
    problems = []
    rows: Manifest = {}
    try:
        rows = manifests.read(directory / manifests.NAME, meta["manifest"])
    except UserError as error:
        problems.append(str(error))
    native = meta["squashed_by"] is None
    for split in meta["sizes"]:
        try:
            problems += _check_split(directory, meta, split, rows.get(split) if rows else None, native)
        except UserError as error:
            problems.append(str(error))
    agrees = None
    if meta["source"] == "tfds" and rows:
        differing = official.differences(task, rows)
        agrees = None if differing is None else not differing
        problems += [
            f"{directory / manifests.NAME} does not list the official examples: {text}; delete {directory} and what "
            f"TFDS prepared of {task.builder}, and prepare again"
            for text in differing or ()
        ]
    return Verdict(tuple(problems), "" if problems else _sound(task, meta, agrees), agrees)


def _sound(task: Task, meta: Mapping[str, Any], agrees: bool | None) -> str:
    listed = task.builder is not None and official.example_ids(task) is not None
    if agrees:
        ids = "ids are the official ones"
    elif not listed:
        ids = "there is no official list of this task" if task.builder else ""
    elif meta["source"] == "tfds":
        ids = "these examples have no ids to compare with the official list"
    else:
        ids = "a folder pack has no ids to compare with the official list"
    squashed = "" if meta["squashed_by"] is None else "digests not checked, they are of the images before resizing"
    images = f"{sum(meta['sizes'].values()):,} images whole"
    return "; ".join(text for text in (images, squashed, ids) if text)


def _check_split(
    directory: Path, meta: Mapping[str, Any], split: str, rows: Sequence[ManifestRow] | None, native: bool
) -> list[str]:
    """Problems of one split; `rows` is its part of the manifest, None if that could not be read."""
    for name in meta["files"]:
        if re.split("[._]", name)[0] == split:
            _check_file(directory / name)
    images, labels = store.read_split(directory, meta, split)
    if rows is None:
        return []
    path = directory / manifests.NAME
    if len(rows) != len(labels):
        return [_broken(path, f"lists {len(rows)} images of {split}, the cache holds {len(labels)}")]
    problems = []
    other = np.flatnonzero(labels != np.array([row.label for row in rows], np.int64))
    if len(other):
        problems.append(_broken(path, f"has another label than {split}_labels.npy, first at position {other[0]}"))
    if native:
        altered = (index for index, row in enumerate(rows) if manifests.digest(images[index]) != row.digest)
        if (first := next(altered, None)) is not None:
            problems.append(_broken(path, f"has another digest than the image of {split} at position {first}"))
    return problems


def _broken(path: Path, what: str) -> str:
    return f"the cache file {path} {what}; delete {path.parent} and prepare again"
