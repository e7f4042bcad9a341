"""Whether a cache is what it says it is: whole in itself, and made of the examples of the official lists."""

import re
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from aoft_bench.data import cache as store
from aoft_bench.data import manifest as manifests
from aoft_bench.data.image_list import ImageList
from aoft_bench.data.manifest import Manifest, Row
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.data.tfds import official
from aoft_bench.utils.errors import UserError


def _numbered(digits: int) -> Callable[[str, str], str]:
    """`train_00042`: TFDS's split and the index, the key, in so many digits."""
    return lambda split, key: f"{split}_{int(key):0{digits}d}"


def _as_it_is(split: str, key: str) -> str:
    return key


def _without_folder(split: str, key: str) -> str:
    """The file of a key <folder>_<file>, where the file itself is named <folder>_<number>.jpg."""
    twice, _, number = key.rpartition("_")
    return f"{twice[len(twice) // 2 + 1 :]}_{number}"


# read in the builders' _generate_examples, tensorflow_datasets 4.9.10
_ID_OF_KEY: Mapping[str, Callable[[str, str], str]] = MappingProxyType(
    {
        "cifar100": _numbered(5),
        "clevr": _as_it_is,
        "dsprites": lambda split, key: f"{int(key):06d}",  # since 2.1.0
        "eurosat": _without_folder,
        "patch_camelyon": _as_it_is,
        "resisc45": _without_folder,
        "smallnorb": _numbered(5),  # since 2.1.0
        "sun397": _as_it_is,
        "svhn_cropped": _numbered(6),  # since 3.1.0
    }
)


def id_of_key(builder: str, split: str, key: str) -> str:
    """What a TFDS builder in `official.LISTS` writes into the example of `key` in its own `split`, as
    `id`, `file_name` or `filename`, in the versions that write one."""
    return _ID_OF_KEY[builder](split, key)


def official_ids(task: Task) -> dict[str, tuple[str, ...]] | None:
    """The ids of the official examples of each split, in order, as the examples themselves have them.

    They are the keys of `official.example_ids` as the task's TFDS builder writes them into an example. Those of
    eurosat and resisc45 lack the folder that the key begins with, which is the class. None where there is no list.
    """
    keys = official.example_ids(task)
    if keys is None:
        return None
    assert task.builder is not None and task.slices is not None
    builder = re.split("[:/]", task.builder)[0]
    splits = {split: re.split(r"\W", task.slices[split])[0] for split in SPLITS}
    return {split: tuple(id_of_key(builder, splits[split], key) for key in keys[split]) for split in SPLITS}


def differences(task: Task, manifest: Manifest) -> list[str] | None:
    """What the ids of a manifest show unlike the official examples in the official order: a text for each split.

    Empty where every split holds them. None where that cannot be told: there is no official list of the task, or no
    image has an id. Versions 2.0.0 of smallnorb and of dsprites and 3.0.0 of svhn_cropped have no ids, and folder packs
    never do.
    """
    wanted = official_ids(task)
    if wanted is None or not any(row.id for rows in manifest.values() for row in rows):
        return None
    texts = (_difference(split, wanted[split], [row.id for row in manifest.get(split, ())]) for split in SPLITS)
    return [text for text in texts if text]


def _difference(split: str, wanted: Sequence[str], got: Sequence[str]) -> str:
    if len(got) != len(wanted):
        return f"{split} has {len(got):,} examples instead of {len(wanted):,}"
    positions = [index for index, (mine, theirs) in enumerate(zip(got, wanted, strict=True)) if mine != theirs]
    if not positions:
        return ""
    first = positions[0]
    return (
        f"{len(positions):,} of {len(wanted):,} ids of {split} differ, the first at position {first}: {got[first]!r} "
        f"instead of {wanted[first]!r}"
    )


def glance(directory: Path, task: str) -> dict[str, Any]:
    """meta.json of a cache, once every file is seen to be there and as long as its header says; no pixel is read.

    Raises `UserError` naming file and remedy. `verify` reads everything.
    """
    meta = store.read_meta(directory, task)
    for name in (*meta["files"], manifests.NAME):
        _check_there(directory / name)
    return meta


def _check_there(path: Path) -> None:
    try:
        if path.suffix == ".npy":
            np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            path.stat()
    except FileNotFoundError:
        raise UserError(_broken(path, "is missing")) from None
    except OSError as error:
        raise UserError(f"cannot read the cache file {path}: {error.strerror}; mend its permissions") from error
    except (ValueError, EOFError, SyntaxError, tokenize.TokenError):  # what NumPy raises for a header
        raise UserError(_broken(path, "is truncated or corrupt")) from None


@dataclass(frozen=True)
class Verdict:
    """What reading all of a cache found: `problems`, texts that name file and remedy, or what is `sound`, in words.

    `official`: whether `differences` finds none in a cache from TFDS; None where that cannot be told, and for others.
    """

    problems: tuple[str, ...]
    sound: str = ""
    official: bool | None = None


def verify(task: Task, directory: Path) -> Verdict:
    """Read a cache from end to end and hold its parts against each other and against the official list.

    Arrays and manifest against their SHA-256, the fingerprint against both, counts, labels in [0, classes), the
    manifest's labels against the labels, its digests against the images where those are native, its ids against the
    official ones where the source is TFDS. A problem does not end the check of the other parts.
    """
    try:
        meta = store.read_meta(directory, task.name)
    except UserError as error:
        return Verdict((str(error),))
    problems = []
    if store.fingerprint(meta) != meta["fingerprint"]:
        problems.append(_broken(directory / "meta.json", "has another fingerprint than its arrays"))
    rows: Manifest = {}
    try:
        rows = store.read_manifest(directory, meta)
    except UserError as error:
        problems.append(str(error))
    native = meta["squashed_by"] is None
    for split in SPLITS:
        try:
            problems += _check_split(directory, meta, split, rows.get(split) if rows else None, native)
        except UserError as error:
            problems.append(str(error))
    agrees = None
    if meta["source"] == "tfds" and rows:
        differing = differences(task, rows)
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
        ids = "these examples have no ids to hold against the official list"
    else:
        ids = "a folder pack has no ids to hold against the official list"
    squashed = "" if meta["squashed_by"] is None else "digests not checked, they are of the images before resizing"
    images = f"{sum(meta['sizes'].values()):,} images whole"
    return "; ".join(text for text in (images, squashed, ids) if text)


def _check_split(
    directory: Path, meta: Mapping[str, Any], split: str, rows: Sequence[Row] | None, native: bool
) -> list[str]:
    """Problems of one split, whose rows of the manifest are None where it could not be read."""
    for name in meta["files"]:
        if re.split("[._]", name)[0] == split:
            _check_there(directory / name)
    try:
        images, labels = store.read_split(directory, meta, split)
    except ValueError as error:  # of `ImageList`
        return [_broken(directory / f"{split}_sizes.npy", f"does not fit its images ({error})")]
    problems = []
    if len(images) != len(labels):
        problems.append(_broken(directory / f"{split}.npy", f"has {len(images)} images for {len(labels)} labels"))
    outside = labels[(labels < 0) | (labels >= meta["classes"])]
    if len(outside):
        what = f"holds the label {outside[0]}, out of range for {meta['classes']} classes"
        problems.append(_broken(directory / f"{split}_labels.npy", what))
    if rows is None:
        return problems
    path = directory / manifests.NAME
    if len(rows) != len(labels):
        return [*problems, _broken(path, f"lists {len(rows)} images of {split}, the cache holds {len(labels)}")]
    other = np.flatnonzero(labels != np.array([row.label for row in rows], np.int64))
    if len(other):
        problems.append(_broken(path, f"has another label than {split}_labels.npy, first at position {other[0]}"))
    if native and len(images) == len(rows):
        problems += _check_digests(path, split, images, rows)
    return problems


def _check_digests(path: Path, split: str, images: np.ndarray | ImageList, rows: Sequence[Row]) -> list[str]:
    for index, row in enumerate(rows):
        if manifests.digest(images[index]) != row.digest:
            return [_broken(path, f"has another digest than the image of {split} at position {index}")]
    return []


def _broken(path: Path, what: str) -> str:
    return f"the cache file {path} {what}; delete {path.parent} and prepare again"
