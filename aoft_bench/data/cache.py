"""The uint8 cache: one directory for a prepared task, written at once or not at all, verified whenever it is read.

    <split>.npy            images (N, H, W, C) uint8
    <split>_labels.npy     labels (N,) int64
    meta.json              what it is, a SHA-256 of every file's values, and the fingerprint

The fingerprint is a SHA-256 over the format version and, for each split, its name, shape and the SHA-256 of its image
bytes and label bytes: it depends on the content only, not on where that came from.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aoft_bench.errors import UserError

FORMAT = 1

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write(
    directory: Path,
    about: Mapping[str, Any],
    shape: tuple[int, int, int],
    splits: Mapping[str, tuple[np.ndarray, Iterable[np.ndarray]]],
) -> None:
    """Write a cache of images `shape` (H, W, C) to `directory`, which appears only when it is complete.

    `splits` gives labels (N,) and blocks (n, H, W, C) uint8 of each split; `about` goes into meta.json and must hold
    "task". Where another process was first, its directory stays. Raises `UserError` for a full disk or an unwritable
    folder, and leaves nothing behind then.
    """
    partial = directory.with_name(f".{directory.name}-{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        sizes = {split: len(labels) for split, (labels, _) in splits.items()}
        _check_space(directory.parent, sum(sizes.values()) * int(np.prod(shape)))
        files: dict[str, str] = {}
        for split, (labels, blocks) in splits.items():
            count = len(labels)
            files[f"{split}.npy"] = _write_array(partial / f"{split}.npy", (count, *shape), np.uint8, blocks)
            files[f"{split}_labels.npy"] = _write_array(
                partial / f"{split}_labels.npy", (count,), np.int64, [np.asarray(labels)]
            )
        meta = {**about, "format": FORMAT, "key": directory.name, "shape": list(shape), "sizes": sizes, "files": files}
        meta["fingerprint"] = _fingerprint(meta)
        meta["checksum"] = _checksum(meta)
        (partial / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        _publish(partial, directory)
    except OSError as error:
        raise _unwritable(directory.parent, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_space(folder: Path, needed: int) -> None:
    """Refuse within a second what would fail after minutes of decoding."""
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB are needed")


def _write_array(path: Path, shape: tuple[int, ...], dtype: type, blocks: Iterable[np.ndarray]) -> str:
    """Stream blocks into an .npy file; returns the SHA-256 of the values' bytes.

    Plain writes, not a memory map: on a full disk a map kills the process instead of raising an error.
    """
    digest, count = hashlib.sha256(), 0
    descr = np.dtype(dtype).newbyteorder("<").str
    with path.open("wb") as file:
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            if block.shape[1:] != shape[1:]:
                raise ValueError(f"{path.name}: a block of shape {block.shape} where {shape} was announced")
            content = _bytes(np.ascontiguousarray(block, dtype=descr))
            digest.update(content)
            file.write(content)
            count += len(block)
        file.flush()
        os.fsync(file.fileno())
    if count != shape[0]:
        raise ValueError(f"{path.name}: {count} rows written where {shape[0]} were announced")
    return digest.hexdigest()


def _publish(partial: Path, directory: Path) -> None:
    try:
        partial.rename(directory)
    except OSError:
        if not directory.is_dir():  # else another process prepared the same content meanwhile
            raise


def _unwritable(folder: Path, error: OSError) -> UserError:
    if error.errno in _FULL:
        return UserError(
            f"the disk is full: cannot write the cache in {folder} ({error.strerror}); free some space "
            f"or choose another folder with data.cache=<folder>"
        )
    return UserError(
        f"cannot write the cache in {folder}: {error.strerror}; choose another folder with data.cache=<folder>"
    )


def read_meta(directory: Path, task: str) -> dict[str, Any]:
    """meta.json of a cache, checked to be of this task, this directory and this format version, and unaltered.

    Raises `UserError` that names the file and the remedy.
    """
    path = directory / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _broken(path, "is missing") from None
    except OSError as error:
        raise UserError(f"cannot read the cache file {path}: {error.strerror}; mend its permissions") from error
    except ValueError:
        raise _broken(path, "is corrupt") from None
    if not isinstance(meta, dict) or "format" not in meta:
        raise _broken(path, "is corrupt")
    if meta["format"] != FORMAT:
        raise _broken(path, f"has format version {meta['format']}, this version reads {FORMAT}")
    if meta.get("checksum") != _checksum(meta):
        raise _broken(path, "is corrupt (its checksum does not match)")
    if meta["task"] != task or meta["key"] != directory.name:
        raise _broken(path, f"is of another cache ({meta['task']}/{meta['key']}, not {task}/{directory.name})")
    return meta


def read_split(directory: Path, meta: Mapping[str, Any], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, C) uint8, memory-mapped, and labels (N,) int64 of one split, after checking their SHA-256.

    Only the files of this split are read. Raises `UserError` for what is missing, truncated or altered.
    """
    count = meta["sizes"][split]
    images = _read_array(directory / f"{split}.npy", (count, *meta["shape"]), np.uint8, meta["files"])
    labels = _read_array(directory / f"{split}_labels.npy", (count,), np.int64, meta["files"])
    return images, np.array(labels)


def _read_array(path: Path, shape: tuple[int, ...], dtype: type, files: Mapping[str, str]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise _broken(path, "is missing") from None
    except (ValueError, EOFError, SyntaxError):
        raise _broken(path, "is truncated or corrupt") from None
    except OSError as error:
        raise UserError(f"cannot read the cache file {path}: {error.strerror}; mend its permissions") from error
    if not isinstance(array, np.memmap) or array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise _broken(path, f"holds {array.dtype} {array.shape} instead of {np.dtype(dtype)} {shape}")
    if hashlib.sha256(_bytes(array)).hexdigest() != files[path.name]:
        raise _broken(path, "is corrupt (its SHA-256 does not match)")
    return array


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of a contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def _checksum(meta: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in meta.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _fingerprint(meta: Mapping[str, Any]) -> str:
    rows = [
        [split, [count, *meta["shape"]], meta["files"][f"{split}.npy"], meta["files"][f"{split}_labels.npy"]]
        for split, count in meta["sizes"].items()
    ]
    return hashlib.sha256(json.dumps([meta["format"], rows]).encode()).hexdigest()


def _broken(path: Path, what: str) -> UserError:
    return UserError(f"the cache file {path} {what}; delete {path.parent} and run again")
