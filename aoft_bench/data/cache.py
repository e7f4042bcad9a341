"""The uint8 cache: one directory for each prepared task, verified when it is read.

    <split>.npy            images (N, H, W, C) uint8; those of different sizes one after the other (total,)
    <split>_labels.npy     labels (N,) int64
    <split>_sizes.npy      (N, 2) int64, heights and widths, where they differ
    manifest.tsv.gz        which images they are, see `manifest`
    meta.json              source, sizes, classes, a SHA-256 of the values in each file, and the fingerprint

The fingerprint is a SHA-256 over the name, the shape and the SHA-256 of image bytes and label bytes of each split. It
depends on the content only, not on its source. `write_cache` writes it, completely or not at all.
"""

import hashlib
import json
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aoft_bench.data.image_list import ImageList
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import open_regular

FORMAT = 2
_FINGERPRINT = 1  # part of every fingerprint and so of every record's hash: it stays when FORMAT changes

PARTS = ("", "_labels", "_sizes")

_Count = Annotated[int, Field(ge=1)]


class _Meta(BaseModel):
    """What meta.json holds, beside `format` and `checksum`."""

    model_config = ConfigDict(strict=True)

    task: str
    key: str
    source: str
    source_note: str
    official: bool
    official_note: str
    classes: _Count
    class_names: list[str] | None
    squashed_by: str | None
    shape: Annotated[list[_Count], Field(min_length=3, max_length=3)] | None
    sizes: dict[str, _Count]
    stored: dict[str, list[_Count]]
    files: dict[str, str]
    manifest: str
    fingerprint: str
    content: str | None = None  # older caches lack it
    drawn: dict[str, Any] | None = None  # where images were drawn by rule


def read_meta(directory: Path, task: str) -> dict[str, Any]:
    """Read meta.json of a cache and check its task, directory, format version and checksum.

    Raises `UserError` that names the file and the remedy.
    """
    path = directory / "meta.json"
    try:
        with open_regular(path) as file:
            meta = json.loads(file.read())
    except FileNotFoundError:
        raise _broken(path, "is missing") from None
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError):
        raise _broken(path, "is corrupt") from None
    if not isinstance(meta, dict) or "format" not in meta:
        raise _broken(path, "is corrupt")
    if meta["format"] != FORMAT:
        raise _broken(path, f"has format version {meta['format']!r:.20}, this version reads {FORMAT}")
    if meta.get("checksum") != checksum(meta):
        raise _broken(path, "is corrupt (its checksum does not match)")
    if problem := _contradiction(meta):
        raise _broken(path, f"is corrupt ({problem})")
    if meta["task"] != task or meta["key"] != directory.name:
        raise _broken(path, f"is of another cache ({meta['task']}/{meta['key']}, not {task}/{directory.name})")
    return meta


def shape_of(meta: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """(H, W, C) of all images of a cache; None where their sizes differ."""
    return (shape[0], shape[1], shape[2]) if (shape := meta["shape"]) else None


def _contradiction(meta: Mapping[str, Any]) -> str:
    """The first entry that is missing, of a wrong type, or that contradicts another one; empty where all is right."""
    try:
        read = _Meta.model_validate(meta)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    parts = ("", "_labels") if read.shape else ("", "_labels", "_sizes")
    if set(read.files) != {f"{split}{part}.npy" for split in read.sizes for part in parts}:
        return "files are not those of its splits"
    if set(read.stored) != set(read.sizes):
        return "stored and sizes have other splits"
    if read.shape and any(read.stored[split] != [count, *read.shape] for split, count in read.sizes.items()):
        return "stored is not what sizes and shape give"
    if read.class_names and len(read.class_names) != read.classes:
        return f"{read.classes} classes, but {len(read.class_names)} names of classes"
    return "" if fingerprint(meta) == read.fingerprint else "its fingerprint is that of other arrays"


def read_split(directory: Path, meta: Mapping[str, Any], split: str) -> tuple[np.ndarray | ImageList, np.ndarray]:
    """Images, memory-mapped, and labels (N,) int64 of one split; their SHA-256 is checked.

    Images are (N, H, W, C) uint8, or an `ImageList` where their sizes differ. Only the files of this split are read.
    Raises `UserError` for a missing, truncated or altered file, and a label that is not in [0, classes).
    """
    count = meta["sizes"][split]
    images = _read_array(directory / f"{split}.npy", tuple(meta["stored"][split]), np.uint8, meta["files"])
    labels = np.array(_read_array(directory / f"{split}_labels.npy", (count,), np.int64, meta["files"]))
    outside = labels[(labels < 0) | (labels >= meta["classes"])]
    if len(outside):
        what = f"holds the label {outside[0]}, out of range for {meta['classes']} classes"
        raise _broken(directory / f"{split}_labels.npy", what)
    if meta["shape"]:
        return images, labels
    sizes = _read_array(directory / f"{split}_sizes.npy", (count, 2), np.int64, meta["files"])
    try:
        return ImageList(images, np.array(sizes)), labels
    except ValueError as error:
        raise _broken(directory / f"{split}_sizes.npy", f"does not fit its images ({error})") from None


def map_array(path: Path) -> np.memmap:
    """An array of a cache, memory-mapped; no value is read. Raises `UserError` for a file that holds none."""
    try:
        open_regular(path).close()
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise _broken(path, "is missing") from None
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, EOFError, SyntaxError, OverflowError, tokenize.TokenError):  # raised by NumPy for a header
        raise _broken(path, "is truncated or corrupt") from None


def _read_array(path: Path, shape: tuple[int, ...], dtype: type, files: Mapping[str, str]) -> np.ndarray:
    array = map_array(path)
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise _broken(path, f"holds {array.dtype} {array.shape} instead of {np.dtype(dtype)} {shape}")
    if hashlib.sha256(bytes_of(array)).hexdigest() != files[path.name]:
        raise _broken(path, "is corrupt (its SHA-256 does not match)")
    return array


def bytes_of(array: np.ndarray) -> memoryview:
    """The bytes of a contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def checksum(meta: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in meta.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def fingerprint(meta: Mapping[str, Any]) -> str:
    """The fingerprint of a cache, from the shapes and hashes in its meta.json."""
    files = meta["files"]
    rows = [
        [split, shape, *(files[name] for part in PARTS if (name := f"{split}{part}.npy") in files)]
        for split, shape in meta["stored"].items()
    ]
    return hashlib.sha256(json.dumps([_FINGERPRINT, rows]).encode()).hexdigest()


def unreadable(path: Path, error: OSError) -> UserError:
    """The error of a file of a cache that cannot be read."""
    return UserError(
        f"cannot read the cache file {path}: {error.strerror}; mend its permissions, or delete {path.parent} and run "
        f"again"
    )


def _broken(path: Path, what: str) -> UserError:
    return UserError(f"the cache file {path} {what}; delete {path.parent} and run again")
