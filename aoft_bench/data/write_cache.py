"""Write the images of a source into a cache: from the source, or as a part of another cache."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aoft_bench.data import cache as store
from aoft_bench.data import manifest as manifests
from aoft_bench.data.resample import resize_short_side, short_side_for_crop, short_side_shape, squash
from aoft_bench.data.sources.base import Fit, Member, Source
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.progress_bar import progress

_BLOCK = 256  # images in memory at a time


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
    store.remove_leftovers(directory)
    with progress(f"preparing {task.name}", sum(source.sizes.values())) as advance:
        splits = {
            split: store.Incoming(
                source.sizes[split],
                shape,
                sizes[split] if sizes else None,
                source.blocks(split, fit, shape is None, advance),
            )
            for split in SPLITS
        }
        store.write(directory, task.name, splits, _about(source, squashed_by))
    return directory


def write_part(task: Task, source: Source, places: tuple[Path, Path], whole: Path) -> Path:
    """Write a cache with a part of the images of another one, in the folder `whole`; its folder is returned.

    Splits that are the same are linked, others copied. places: as for `write_all`.
    """
    assert source.part is not None
    meta = store.read_meta(whole, task.name)
    directory = places[0] if meta["squashed_by"] is None else places[1]
    store.remove_leftovers(directory)
    rows = manifests.read(whole / manifests.NAME, meta["manifest"])
    images = {split: store.read_split(whole, meta, split)[0] for split in SPLITS}
    shape = store.shape_of(meta)

    def blocks(members: Sequence[Member]) -> Iterator[store.ImageBlock]:
        for start in range(0, len(members), _BLOCK):
            some = members[start : start + _BLOCK]
            each = [images[split][index] for split, index in some]
            joined = np.stack(each) if shape else np.concatenate([image.reshape(-1) for image in each])
            yield store.ImageBlock(joined, [rows[split][index] for split, index in some])

    def split_of(name: str, members: Sequence[Member]) -> store.Incoming | store.Linked:
        if list(members) == [(name, index) for index in range(meta["sizes"][name])]:
            return store.Linked(whole, name, meta, list(rows[name]))
        sizes = [images[split][index].shape[:2] for split, index in members]
        return store.Incoming(len(members), shape, None if shape else np.array(sizes, np.int64), blocks(members))

    splits = {name: split_of(name, members) for name, members in source.part[1].items()}
    store.write(directory, task.name, splits, _about(source, meta["squashed_by"]))
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
