"""Prepare a task once into the uint8 cache, and open it."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aoft_bench.data import cache as store
from aoft_bench.data import manifest as manifests
from aoft_bench.data.image_list import ImageList, Images, joined
from aoft_bench.data.locations import Locations
from aoft_bench.data.resample import INTERPOLATIONS
from aoft_bench.data.sources.base import Source
from aoft_bench.data.sources.choose import choose, open_source, place_of
from aoft_bench.data.tasks import Task
from aoft_bench.data.tfds import process
from aoft_bench.data.write_cache import unwritable, write_all, write_part
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.locks import preparing

CROPPED = ("json", "imagenet")  # sources whose images are cropped when they are used
CROPPED_BY = ("bicubic", "bilinear")
TRAIN_SPLITS = ("train800", "val200", "train800val200")


class Split(NamedTuple):
    """Images (N, H, W, C) uint8, C in {1, 3}, or an `ImageList`, perhaps read-only memory maps; labels (N,) int64."""

    images: Images | ImageList
    labels: np.ndarray


@dataclass(frozen=True)
class PreparedTask:
    """A task in the cache, ready to be opened.

    source, source_note: what it was made from. official, official_note: whether these are the images of the published
    splits, and why not. fingerprint: identifies the cached arrays; manifest: identifies the images. shape: (H, W, C) of
    the cached images, native or squashed to the model's size (then squashed_by names the interpolation); None where
    their sizes differ (FGVC, cropped in training). meta: the content of meta.json.
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
    meta: Mapping[str, Any]

    @classmethod
    def open(cls, task: Task, directory: Path) -> "PreparedTask":
        """The cache in `directory`, of which only meta.json is read; raises `UserError` for a damaged one."""
        meta = store.read_meta(directory, task.name)
        _check_classes(task, meta, directory)
        return cls(
            task=task,
            **{name: meta[name] for name in ("source", "source_note", "official", "official_note", "fingerprint")},
            **{name: meta[name] for name in ("manifest", "classes", "sizes", "squashed_by")},
            class_names=tuple(meta["class_names"]) if meta["class_names"] else None,
            shape=store.shape_of(meta),
            directory=directory,
            meta=meta,
        )

    @property
    def drawn(self) -> dict[str, Any] | None:
        """What was drawn by rule of the images of a source, see `draw`; None where nothing was."""
        return self.meta.get("drawn")

    @property
    def size_text(self) -> str:
        """The size of the cached images, in words."""
        if not self.shape:
            return f"short side resized by {self.squashed_by}"
        return " x ".join(map(str, self.shape)) + (
            f", squashed by {self.squashed_by}" if self.squashed_by else ", native"
        )

    def train(self, split: str) -> Split:
        """Open one of `TRAIN_SPLITS`, verified; raises `UserError` for a damaged cache or another name."""
        if split == "train800val200":
            first, second = self._read("train800"), self._read("val200")
            return Split(joined(first[0], second[0]), np.concatenate([first[1], second[1]]))
        if split not in TRAIN_SPLITS:
            raise unknown("training split", split, TRAIN_SPLITS)
        return self.read(split)

    def open_test(self) -> Split:
        """Open the test split, verified. A run opens it once, after training."""
        return self.read("test")

    def open_shifts(self) -> Iterator[tuple[str, Split]]:
        """Open the further test sets of the task one after the other, verified. A run does it once, after training."""
        for split in self.task.shifts:
            yield split, self.read(split)

    def read(self, split: str) -> Split:
        """Open any split, verified; runs use `train`, `open_test` and `open_shifts`."""
        return Split(*self._read(split))

    def _read(self, split: str) -> tuple[np.ndarray | ImageList, np.ndarray]:
        return store.read_split(self.directory, self.meta, split)

    def read_manifest(self) -> manifests.Manifest:
        """Ids, labels and digests of every image, those of the test split too: training does not read it."""
        return manifests.read(self.directory / manifests.NAME, self.meta["manifest"])

    def copies(self, train: str, score: str) -> int:
        """How many images of the split `score` are, pixel for pixel at native size, images of `train` too.

        `train` is one of `TRAIN_SPLITS`, `score` one of `SPLITS`. Only the manifest is read.
        """
        rows = self.read_manifest()
        parts = ("train800", "val200") if train == "train800val200" else (train,)
        trained = {row.digest for part in parts for row in rows[part]}
        return sum(row.digest in trained for row in rows[score])


def _check_classes(task: Task, meta: Mapping[str, Any], directory: Path) -> None:
    """Raise `UserError` for a number of classes that the task cannot have."""
    classes, most = meta["classes"], max(task.classes, sum(meta["sizes"].values()))
    fixed = meta["source"] in ("embedded", "tfds")
    if classes != task.classes if fixed else classes > most:
        allowed = f"{task.classes}" if fixed else f"at most {most:,}"
        raise UserError(
            f"the cache file {directory / 'meta.json'} has {classes:,} classes, {task.name} has {allowed}; delete "
            f"{directory} and run again"
        )


def prepare(task: Task, locations: Locations, *, image_size: int, interpolation: str = "bicubic") -> PreparedTask:
    """Make sure that `<cache>/<task>/<key>` holds the task for a model of `image_size` pixels, and open it.

    Images stay at native size where all share one and neither side exceeds `image_size`. Otherwise they are squashed
    (no crop) to image_size x image_size; those of FGVC and ImageNet are resized to a short side of 256 / 224
    image_size. The key is made of the lists and the names and the content of the images (for TFDS: of builder, slices
    and label map), so that an unchanged source is decoded once and a changed one is noticed; see `digests`. Images from
    TFDS are first downloaded and prepared, in another process. Of several processes that prepare one task, one works
    and the others wait.
    Raises `UserError` for missing or wrong data, a damaged cache, and a cache that cannot be written.
    """
    if interpolation not in INTERPOLATIONS:
        raise unknown("interpolation", interpolation, INTERPOLATIONS)
    kind = source_of(task, locations, image_size, interpolation)
    if kind != "tfds":
        return fill(task, open_source(kind, task, locations), locations, image_size, interpolation)
    found = find(task, locations, image_size=image_size, interpolation=interpolation)
    if not found:
        process.run(task, locations, image_size, interpolation)
        found = _find(task, locations, process.stamp(task), image_size, interpolation)
    assert found, "the preparing process reported success, but there is no cache"
    return found


def find(task: Task, locations: Locations, *, image_size: int, interpolation: str = "bicubic") -> PreparedTask | None:
    """The result of `prepare` if it is in the cache, else None; raises `UserError` for missing or wrong data."""
    kind = source_of(task, locations, image_size, interpolation)
    found = _find(task, locations, stamp_of(task, locations, kind), image_size, interpolation)
    if found and kind == "tfds":
        _check_content(found, locations)
    return found


def _check_content(found: PreparedTask, locations: Locations) -> None:
    """Raise `UserError` where TFDS's files are here, and are not those that a cache was made from."""
    made_from = found.meta.get("content")
    if made_from and process.content(found.task, locations, made_from.split()[0]) not in (made_from, None):
        raise UserError(
            f"{process.prepared_folder(found.task, locations)} holds other examples than those that the cache "
            f"{found.directory} was made from; delete the cache to prepare them, or give the folder of the cache's "
            f"examples by data.tfds_dir=<folder>"
        )


def stamp_of(task: Task, locations: Locations, kind: str) -> str:
    """What identifies the content of a source, see `Source`; `kind` is its name. Errors as for `find`."""
    return process.stamp(task) if kind == "tfds" else open_source(kind, task, locations).stamp


def source_of(task: Task, locations: Locations, image_size: int, interpolation: str) -> str:
    """The name of the source that `prepare` would use (see `choose`); no image is read.

    Raises `UserError` where there is none, with the ways to get one.
    """
    cached = task.builder is not None and any(
        path.is_dir() for path in cache_directories(task, locations, process.stamp(task), image_size, interpolation)
    )
    kind = choose(task, locations, cached)
    if kind in CROPPED and interpolation not in CROPPED_BY:
        raise UserError(
            f"{task.name} is resized by its short side, for which data.interpolation={interpolation} is not defined; "
            f"choose {' or '.join(CROPPED_BY)}"
        )
    place_of(kind, task, locations)
    if kind == "tfds" and not cached:
        process.require(task, locations)
    return kind


def fill(task: Task, source: Source, locations: Locations, image_size: int, interpolation: str) -> PreparedTask:
    """The cache of a source, written if it does not exist yet."""
    found = _find(task, locations, source.stamp, image_size, interpolation)
    if found:
        return found
    directory = locations.cache_of(task)
    whole = fill(task, source.part[0], locations, image_size, interpolation) if source.part else None
    try:
        with preparing(task.name, directory.with_name(f".{task.name}.lock")):
            # another process may have written it while this one waited
            found = _find(task, locations, source.stamp, image_size, interpolation)
            if found:
                return found
            places = cache_directories(task, locations, source.stamp, image_size, interpolation)
            if whole:
                written = write_part(task, source, places, whole.directory)
            else:
                written = write_all(task, source, places, image_size, interpolation)
            return PreparedTask.open(task, written)
    except OSError as error:
        raise unwritable(directory.parent, error) from error


def cache_directories(
    task: Task, locations: Locations, stamp: str, image_size: int, interpolation: str
) -> tuple[Path, Path]:
    """Where a task is cached at native size, and where resized for a model."""
    inside = locations.cache_of(task)
    return inside / _key(stamp), inside / _key(stamp, str(image_size), interpolation)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _find(task: Task, locations: Locations, stamp: str, image_size: int, interpolation: str) -> PreparedTask | None:
    """The existing cache: at native size if that is small enough for the model, else at this image size."""
    native, resized = cache_directories(task, locations, stamp, image_size, interpolation)
    if native.is_dir():
        prepared = PreparedTask.open(task, native)
        if prepared.shape and max(prepared.shape[:2]) <= image_size:
            return prepared
    return PreparedTask.open(task, resized) if resized.is_dir() else None
