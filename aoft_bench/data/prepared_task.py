"""Prepare a task once into the uint8 cache, and open what was prepared."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aoft_bench.data import cache as store
from aoft_bench.data.image_list import ImageList, joined, resize_to, short_side, short_side_shape
from aoft_bench.data.locations import Locations, choose
from aoft_bench.data.manifest import Manifest
from aoft_bench.data.resample import INTERPOLATIONS, squash
from aoft_bench.data.sources import folder
from aoft_bench.data.sources.base import Fit, Source, from_embedded, from_folder, from_json
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.data.tfds import process
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.locks import preparing
from aoft_bench.utils.progress_bar import progress

CROPPED_BY = ("bicubic", "bilinear")
TRAIN_SPLITS = ("train800", "val200", "train800val200")


class Split(NamedTuple):
    """Images (N, H, W, C) uint8, C in {1, 3}, or an `ImageList`, perhaps read-only memory maps; labels (N,) int64."""

    images: np.ndarray | ImageList
    labels: np.ndarray


@dataclass(frozen=True)
class PreparedTask:
    """A task in the cache, ready to be opened.

    `official` says whether the data may stand unmarked beside published rows, `official_note` why not, or what it was
    made from. `shape` is the (H, W, C) of the cached images: native, or squashed to the model's size (`squashed_by`
    names the interpolation then); None where their sizes differ (FGVC, cropped when they are used). `fingerprint`
    identifies the content, `manifest` which images they are.
    """

    task: Task
    source: str
    source_note: str
    official: bool
    official_note: str
    fingerprint: str
    manifest: str
    classes: int
    class_names: tuple[str, ...] | None
    sizes: dict[str, int]
    shape: tuple[int, int, int] | None
    squashed_by: str | None
    directory: Path
    meta: dict[str, Any]

    def train(self, split: str) -> Split:
        """Open one of `TRAIN_SPLITS`, verified; raises `UserError` for a damaged cache or another name."""
        if split == "train800val200":
            first, second = self._open("train800"), self._open("val200")
            labels = np.concatenate([first.labels, second.labels])
            if isinstance(first.images, ImageList) and isinstance(second.images, ImageList):
                return Split(joined(first.images, second.images), labels)
            return Split(np.concatenate([first.images, second.images]), labels)
        if split not in TRAIN_SPLITS:
            raise unknown("training split", split, TRAIN_SPLITS)
        return self._open(split)

    def open_test(self) -> Split:
        """Open the test split, verified: the only way to it, to be taken once a run."""
        return self._open("test")

    def read_manifest(self) -> Manifest:
        """Ids, labels and digests of every image; labels of the test split are in it, so training never asks."""
        return store.read_manifest(self.directory, self.meta)

    def _open(self, split: str) -> Split:
        return Split(*store.read_split(self.directory, self.meta, split))


def prepare(task: Task, locations: Locations, *, image_size: int, interpolation: str = "bicubic") -> PreparedTask:
    """Make sure that `<cache>/<task>/<key>` holds the task for a model of `image_size` pixels, and open it.

    Images stay at native size where all share one and neither side exceeds `image_size`; otherwise they are squashed
    (no crop) to image_size x image_size here, those of FGVC brought to a short side of 256 / 224 image_size. The key
    comes from the lists and the names, sizes and times of the images (of TFDS: from builder, slices and label map), so
    that an unchanged source is decoded once and a changed one is noticed. What comes from TFDS is downloaded and
    prepared first, in a process of its own. Of several processes that prepare one task, one does and the others wait.
    Raises `UserError` for missing or wrong data, a damaged cache, and a cache that cannot be written.
    """
    if interpolation not in INTERPOLATIONS:
        raise unknown("interpolation", interpolation, INTERPOLATIONS)
    if source_of(task, locations, image_size, interpolation) == "tfds":
        stamp = process.stamp(task)
        found = _find(task, locations, stamp, image_size, interpolation)
        if found:
            return found
        process.run(task, locations, image_size, interpolation)
        found = _find(task, locations, stamp, image_size, interpolation)
        assert found, "the preparing process ended well without a cache"
        return found
    return fill(task, local_source(task, locations), locations, image_size, interpolation)


def find(task: Task, locations: Locations, *, image_size: int, interpolation: str = "bicubic") -> PreparedTask | None:
    """What `prepare` would give if it is prepared already, else None; raises `UserError` for missing or wrong data."""
    tfds = source_of(task, locations, image_size, interpolation) == "tfds"
    stamp = process.stamp(task) if tfds else local_source(task, locations).stamp
    return _find(task, locations, stamp, image_size, interpolation)


def source_of(task: Task, locations: Locations, image_size: int, interpolation: str) -> str:
    """The kind of source `prepare` would use (see `locations.choose`), without reading an image.

    Raises `UserError` where there is none, saying how to get one.
    """
    cached = task.builder is not None and any(
        path.is_dir() for path in _directories(task, locations, process.stamp(task), image_size, interpolation)
    )
    kind = choose(task, locations, cached)
    if kind == "json" and interpolation not in CROPPED_BY:
        raise UserError(
            f"{task.name} is resized by its short side, for which data.interpolation={interpolation} is not defined; "
            f"choose {' or '.join(CROPPED_BY)}"
        )
    if kind in ("folder", "json"):
        folder.find_pack(task, locations.root)
    if kind == "tfds" and not cached:
        process.require(task, locations)
    return kind


def local_source(task: Task, locations: Locations) -> Source:
    """The source of a task that does not come from TFDS; raises `UserError` where it is missing or wrong."""
    if task.suite == "embedded":
        return from_embedded(task)
    if task.suite == "fgvc":
        return from_json(task, locations.root)
    return from_folder(task, locations.root)


def fill(task: Task, source: Source, locations: Locations, image_size: int, interpolation: str) -> PreparedTask:
    """The cache of a source, written if it is not there yet."""
    found = _find(task, locations, source.stamp, image_size, interpolation)
    if found:
        return found
    directory = locations.cache_of(task)
    try:
        with preparing(task.name, directory.with_name(f".{task.name}.lock")):
            # another process may have written it while this one waited
            found = _find(task, locations, source.stamp, image_size, interpolation)
            return found or _fill(task, source, locations, image_size, interpolation)
    except OSError as error:
        raise store.unwritable(directory.parent, error) from error


def _fill(task: Task, source: Source, locations: Locations, image_size: int, interpolation: str) -> PreparedTask:
    native, resized = _directories(task, locations, source.stamp, image_size, interpolation)
    if source.native_sizes:
        side = resize_to(image_size)
        fit = partial(short_side, size=side, interpolation=interpolation)
        sizes = {
            split: np.array([short_side_shape(height, width, side) for height, width in every.tolist()], np.int64)
            for split, every in source.native_sizes().items()
        }
        _write(task, source, resized, None, interpolation, fit, sizes)
        return _open(task, resized)
    shape = source.native_shape(image_size)
    if shape:
        _write(task, source, native, shape, None, None, {})
        return _open(task, native)
    shape = (image_size, image_size, source.channels())
    _write(
        task, source, resized, shape, interpolation, partial(squash, size=image_size, interpolation=interpolation), {}
    )
    return _open(task, resized)


def _directories(
    task: Task, locations: Locations, stamp: str, image_size: int, interpolation: str
) -> tuple[Path, Path]:
    """Where a task is cached at native size, and where resized for a model."""
    inside = locations.cache_of(task)
    return inside / _key(stamp), inside / _key(stamp, str(image_size), interpolation)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _find(task: Task, locations: Locations, stamp: str, image_size: int, interpolation: str) -> PreparedTask | None:
    """The cache there is: the native one if it is small enough for the model, else the one of this image size."""
    native, resized = _directories(task, locations, stamp, image_size, interpolation)
    if native.is_dir():
        prepared = _open(task, native)
        if prepared.shape and max(prepared.shape[:2]) <= image_size:
            return prepared
    return _open(task, resized) if resized.is_dir() else None


def _open(task: Task, directory: Path) -> PreparedTask:
    meta = store.read_meta(directory, task.name)
    return PreparedTask(
        task=task,
        source=meta["source"],
        source_note=meta["source_note"],
        official=meta["official"],
        official_note=meta["official_note"],
        fingerprint=meta["fingerprint"],
        manifest=meta["manifest"],
        classes=meta["classes"],
        class_names=tuple(meta["class_names"]) if meta["class_names"] else None,
        sizes=meta["sizes"],
        shape=(shape[0], shape[1], shape[2]) if (shape := meta["shape"]) else None,
        squashed_by=meta["squashed_by"],
        directory=directory,
        meta=meta,
    )


def _write(
    task: Task,
    source: Source,
    directory: Path,
    shape: tuple[int, int, int] | None,
    squashed_by: str | None,
    fit: Fit | None,
    sizes: dict[str, np.ndarray],
) -> None:
    store.remove_leftovers(directory)

    def about(rows: Manifest) -> dict[str, Any]:
        wrong, right = source.compared(rows)
        return {
            "source": source.kind,
            "source_note": source.note,
            "official": source.official and not wrong,
            "official_note": "; ".join(text for text in (source.official_note, wrong, right) if text),
            "classes": source.classes,
            "class_names": list(source.class_names) if source.class_names else None,
            "squashed_by": squashed_by,
        }

    with progress(f"preparing {task.name}", sum(source.sizes.values())) as advance:
        splits = {
            split: store.Incoming(
                source.sizes[split], shape, sizes.get(split), source.blocks(split, fit, shape is None, advance)
            )
            for split in SPLITS
        }
        store.write(directory, task.name, splits, about)
