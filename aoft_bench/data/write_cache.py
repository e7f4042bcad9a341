"""Write the images of a source into a cache: from the source, or as a part of another cache. See `cache`."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aoft_bench.data import cache as store
from aoft_bench.data import manifest as manifests
from aoft_bench.data.resample import resize_short_side, short_side_for_crop, short_side_shape, squash
from aoft_bench.data.sources.base import Fit, ImageBlock, Member, Source
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import is_full
from aoft_bench.utils.progress_bar import progress

_BLOCK = 256  # images in memory at a time


@dataclass(frozen=True)
class Incoming:
    """A split to be written. shape: of each image, or None if `sizes` (N, 2) gives heights and widths."""

    count: int
    shape: tuple[int, int, int] | None
    sizes: np.ndarray | None
    blocks: Iterable[ImageBlock]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        if self.shape is not None:
            return (self.count, *self.shape)
        assert self.sizes is not None
        return (3 * int(self.sizes.prod(axis=1).sum()),)


@dataclass(frozen=True)
class Linked:
    """A split that another cache holds too: its files are linked, which takes no space. `meta`: of that cache."""

    directory: Path
    name: str
    meta: Mapping[str, Any]
    rows: list[manifests.ManifestRow]

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        return store.shape_of(self.meta)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return tuple(self.meta["stored"][self.name])


def write_all(task: Task, source: Source, places: tuple[Path, Path], image_size: int, interpolation: str) -> Path:
    """Read every image of a source and write the cache, whose folder is returned.

    places: the folder of images at native size, and that of resized ones, see `prepared_task.prepare`.
    """
    native, resized = places
    if source.native_sizes:
        side = short_side_for_crop(image_size)
        sizes = {
            split: np.array([short_side_shape(height, width, side) for height, width in every.tolist()], np.int64)
            for split, every in source.native_sizes().items()
        }
        fit = partial(resize_short_side, size=side, interpolation=interpolation)
        return _write(task, source, resized, sizes=sizes, squashed_by=interpolation, fit=fit)
    shape = source.native_shape(image_size)
    if shape:
        return _write(task, source, native, shape=shape)
    shape = (image_size, image_size, source.channels())
    fit = partial(squash, size=image_size, interpolation=interpolation)
    return _write(task, source, resized, shape=shape, squashed_by=interpolation, fit=fit)


def _write(
    task: Task,
    source: Source,
    directory: Path,
    *,
    shape: tuple[int, int, int] | None = None,
    sizes: Mapping[str, np.ndarray] | None = None,
    squashed_by: str | None = None,
    fit: Fit | None = None,
) -> Path:
    """Write the images of a source, all of one `shape`, or of `sizes` (N, 2) in each split."""
    remove_leftovers(directory)
    with progress(f"preparing {task.name}", sum(source.sizes.values())) as advance:
        splits = {
            split: Incoming(
                source.sizes[split],
                shape,
                sizes[split] if sizes else None,
                source.blocks(split, fit, shape is None, advance),
            )
            for split in (*SPLITS, *task.shifts)
        }
        write_files(directory, task.name, splits, _about(source, squashed_by))
    return directory


def write_part(task: Task, source: Source, places: tuple[Path, Path], whole: Path) -> Path:
    """Write a cache with a part of the images of another one, in the folder `whole`; its folder is returned.

    Splits that are the same are linked, others copied. places: as for `write_all`.
    """
    assert source.part is not None
    meta = store.read_meta(whole, task.name)
    directory = places[0] if meta["squashed_by"] is None else places[1]
    remove_leftovers(directory)
    rows = manifests.read(whole / manifests.NAME, meta["manifest"])
    images = {split: store.read_split(whole, meta, split)[0] for split in meta["sizes"]}
    shape = store.shape_of(meta)

    def blocks(members: Sequence[Member]) -> Iterator[ImageBlock]:
        for start in range(0, len(members), _BLOCK):
            some = members[start : start + _BLOCK]
            each = [images[split][index] for split, index in some]
            joined = np.stack(each) if shape else np.concatenate([image.reshape(-1) for image in each])
            yield ImageBlock(joined, [rows[split][index] for split, index in some])

    def split_of(name: str, members: Sequence[Member]) -> Incoming | Linked:
        if list(members) == [(name, index) for index in range(meta["sizes"][name])]:
            return Linked(whole, name, meta, list(rows[name]))
        sizes = [images[split][index].shape[:2] for split, index in members]
        return Incoming(len(members), shape, None if shape else np.array(sizes, np.int64), blocks(members))

    splits = {name: split_of(name, members) for name, members in source.part[1].items()}
    write_files(directory, task.name, splits, _about(source, meta["squashed_by"]))
    return directory


def _about(source: Source, squashed_by: str | None) -> Callable[[manifests.Manifest], dict[str, Any]]:
    """What meta.json says of a source, from the manifest of its images."""

    def about(rows: manifests.Manifest) -> dict[str, Any]:
        wrong, right = source.compared(rows)
        return {
            "source": source.kind,
            "source_note": source.note,
            "official": source.official and not wrong,
            "official_note": "; ".join(text for text in (source.official_note, wrong, right) if text),
            "classes": source.classes,
            "class_names": list(source.class_names) if source.class_names else None,
            "squashed_by": squashed_by,
            **({"content": source.content} if source.content else {}),
            **({"drawn": dict(source.drawn)} if source.drawn else {}),
        }

    return about


def write_files(
    directory: Path,
    task: str,
    splits: Mapping[str, Incoming | Linked],
    about: Callable[[manifests.Manifest], Mapping[str, Any]],
) -> None:
    """Write a cache to `directory`, which appears only when it is complete.

    `about(manifest)` gives further entries of meta.json. If another process wrote the directory meanwhile, that one
    stays. Raises `UserError` for a full disk or an unwritable folder, and leaves no files.
    """
    unfinished = directory.with_name(f".{directory.name}-{uuid.uuid4().hex}.partial")
    try:
        unfinished.mkdir(parents=True)
        needed = sum(int(np.prod(split.stored_shape)) for split in splits.values() if isinstance(split, Incoming))
        if shutil.disk_usage(directory.parent).free < needed:  # now, not after minutes of decoding
            raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB are needed")
        files: dict[str, str] = {}
        rows = {name: tuple(_write_split(unfinished, name, split, files)) for name, split in splits.items()}
        shapes = {split.shape for split in splits.values()}
        shape = shapes.pop() if len(shapes) == 1 else None
        meta = {
            **about(rows),
            "task": task,
            "format": store.FORMAT,
            "key": directory.name,
            "shape": list(shape) if shape else None,
            "sizes": {name: split.count for name, split in splits.items()},
            "stored": {name: list(split.stored_shape) for name, split in splits.items()},
            "files": files,
            "manifest": manifests.write(unfinished / manifests.NAME, task, rows),
        }
        meta["fingerprint"] = store.fingerprint(meta)
        meta["checksum"] = store.checksum(meta)
        (unfinished / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        try:
            unfinished.rename(directory)
        except OSError:
            if not directory.is_dir():  # else another process wrote it meanwhile
                raise
    except OSError as error:
        raise unwritable(directory.parent, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def remove_leftovers(directory: Path) -> None:
    """Delete the files of a killed preparation of `directory`. The caller must hold the lock of the task."""
    for unfinished in directory.parent.glob(f".{directory.name}-*.partial"):
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_split(
    folder: Path, name: str, split: Incoming | Linked, files: dict[str, str]
) -> list[manifests.ManifestRow]:
    """Write or link a split's arrays and add their SHA-256 to `files`; returns its rows of the manifest."""
    if isinstance(split, Linked):
        for file in (f"{name}{part}.npy" for part in store.PARTS):
            if file in split.meta["files"]:
                _link(split.directory / file, folder / file)
                files[file] = split.meta["files"][file]
        return split.rows
    rows: list[manifests.ManifestRow] = []

    def images() -> Iterable[np.ndarray]:
        for block in split.blocks:
            rows.extend(block.rows)
            yield block.images

    files[f"{name}.npy"] = _write_array(folder / f"{name}.npy", split.stored_shape, np.uint8, images())
    labels = np.array([row.label for row in rows], dtype=np.int64)
    files[f"{name}_labels.npy"] = _write_array(folder / f"{name}_labels.npy", (split.count,), np.int64, [labels])
    if (sizes := split.sizes) is not None:
        files[f"{name}_sizes.npy"] = _write_array(folder / f"{name}_sizes.npy", sizes.shape, np.int64, [sizes])
    return rows


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _write_array(path: Path, shape: tuple[int, ...], dtype: type, blocks: Iterable[np.ndarray]) -> str:
    """Write blocks to an .npy file; returns the SHA-256 of the values' bytes.

    Not through a memory map, which on a full disk kills the process instead of raising an error.
    """
    digest, count = hashlib.sha256(), 0
    descr = np.dtype(dtype).newbyteorder("<").str
    with path.open("wb") as file:
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            if block.shape[1:] != shape[1:]:
                raise ValueError(f"{path.name}: a block of shape {block.shape} instead of {shape}")
            content = store.bytes_of(np.ascontiguousarray(block, dtype=descr))
            digest.update(content)
            file.write(content)
            count += len(block)
        file.flush()
        os.fsync(file.fileno())
    if count != shape[0]:
        raise ValueError(f"{path.name}: {count} rows written instead of {shape[0]}")
    return digest.hexdigest()


def unwritable(folder: Path, error: OSError) -> UserError:
    """The error of a cache in `folder` that cannot be written."""
    elsewhere = "choose another folder with data.cache=<folder>"
    if is_full(error):
        why = f"the disk is full: cannot write the cache in {folder} ({error.strerror})"
        return UserError(f"{why}; free some space or {elsewhere}")
    return UserError(f"cannot write the cache in {folder}: {error.strerror}; {elsewhere}")
