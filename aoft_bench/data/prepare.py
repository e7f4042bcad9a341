"""Prepare a task once into the uint8 cache, and open what was prepared."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aoft_bench.data import cache as store
from aoft_bench.data.folder import find_pack
from aoft_bench.data.resample import INTERPOLATIONS
from aoft_bench.data.sources import Source, from_embedded, from_folder
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.errors import UserError, unknown

TRAIN_SPLITS = ("train800", "val200", "train800val200")


class Split(NamedTuple):
    """Images (N, H, W, C) uint8, perhaps memory-mapped and read-only, C in {1, 3}; labels (N,) int64."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class PreparedTask:
    """A task in the cache, ready to be opened.

    `official` says whether the data may stand unmarked beside published rows, `official_note` why not; no source of
    this version can prove itself. `shape` is the (H, W, C) of the cached images: native, or squashed to the model's
    size (`squashed_by` names the interpolation then). `fingerprint` identifies the content.
    """

    task: Task
    source: str
    source_note: str
    official: bool
    official_note: str
    fingerprint: str
    classes: int
    class_names: tuple[str, ...] | None
    sizes: dict[str, int]
    shape: tuple[int, int, int]
    squashed_by: str | None
    directory: Path
    meta: dict[str, Any]

    def train(self, split: str) -> Split:
        """Open one of `TRAIN_SPLITS`, verified; raises `UserError` for a damaged cache or another name."""
        if split == "train800val200":
            first, second = self._open("train800"), self._open("val200")
            return Split(np.concatenate([first.images, second.images]), np.concatenate([first.labels, second.labels]))
        if split not in TRAIN_SPLITS:
            raise unknown("training split", split, TRAIN_SPLITS)
        return self._open(split)

    def open_test(self) -> Split:
        """Open the test split, verified: the only way to it, to be taken once a run."""
        return self._open("test")

    def _open(self, split: str) -> Split:
        return Split(*store.read_split(self.directory, self.meta, split))


def prepare(
    task: Task, *, root: Path | None = None, cache: Path, image_size: int, interpolation: str = "bicubic"
) -> PreparedTask:
    """Make sure that `<cache>/<task>/<key>` holds the task for a model of `image_size` pixels, and open it.

    Images stay at native size where all share one and neither side exceeds `image_size`; otherwise they are squashed
    (no crop) to image_size x image_size here. The key comes from the lists and the names, sizes and times of the
    images, so that an unchanged pack is decoded once and a changed one is noticed. `root` is the pack, or a folder
    with the packs of several tasks; without it `data/packs` and `$AOFT_BENCH_DATA` are searched. Embedded tasks
    need no root. Raises `UserError` for missing or wrong data, a damaged cache, and a cache that cannot be written.
    """
    if interpolation not in INTERPOLATIONS:
        raise unknown("interpolation", interpolation, INTERPOLATIONS)
    require(task, root)
    source = from_embedded(task) if task.suite == "embedded" else from_folder(task, root)
    folder = cache.expanduser() / task.name
    native = folder / _key(source.stamp)
    squashed = folder / _key(source.stamp, str(image_size), interpolation)
    found = _find(task, native, squashed, image_size)
    if found:
        return found
    shape = source.native_shape(image_size)
    directory, squashed_by = (native, None) if shape else (squashed, interpolation)
    if not shape:
        shape = (image_size, image_size, source.read("train800", 0).shape[-1])
    _write(task, source, directory, shape, squashed_by)
    return _open(task, directory)


def require(task: Task, root: Path | None) -> None:
    """Raise `UserError` at once where a task cannot be prepared here, without reading an image."""
    if task.suite == "fgvc":
        raise UserError(
            f"{task.name}: the FGVC pipeline (json splits, Resize 256, RandomCrop 224) is not part of this version; "
            f"dataset=folder data.root=<pack> trains on a pack of these images, squashed to the model's size"
        )
    if task.suite != "embedded":
        find_pack(task, root)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _find(task: Task, native: Path, squashed: Path, image_size: int) -> PreparedTask | None:
    """The cache there is: the native one if it is small enough for the model, else the one of this image size."""
    if native.is_dir():
        prepared = _open(task, native)
        if max(prepared.shape[:2]) <= image_size:
            return prepared
    return _open(task, squashed) if squashed.is_dir() else None


def _open(task: Task, directory: Path) -> PreparedTask:
    meta = store.read_meta(directory, task.name)
    height, width, channels = meta["shape"]
    return PreparedTask(
        task=task,
        source=meta["source"],
        source_note=meta["source_note"],
        official=meta["official"],
        official_note=meta["official_note"],
        fingerprint=meta["fingerprint"],
        classes=meta["classes"],
        class_names=tuple(meta["class_names"]) if meta["class_names"] else None,
        sizes=meta["sizes"],
        shape=(height, width, channels),
        squashed_by=meta["squashed_by"],
        directory=directory,
        meta=meta,
    )


def _write(task: Task, source: Source, directory: Path, shape: tuple[int, int, int], squashed_by: str | None) -> None:
    about = {
        "task": task.name,
        "source": source.kind,
        "source_note": source.note,
        "official": source.official,
        "official_note": source.official_note,
        "classes": source.classes,
        "class_names": list(source.class_names) if source.class_names else None,
        "squashed_by": squashed_by,
    }
    labels = source.labels()
    with _progress(f"preparing {task.name}", sum(map(len, labels.values()))) as advance:
        splits = {split: (labels[split], source.blocks(split, shape, squashed_by, advance)) for split in SPLITS}
        store.write(directory, about, shape, splits)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where that is a terminal, nothing otherwise."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task(title, total=total)
        yield lambda count: progress.advance(bar, count)
