"""What a task is prepared from: a folder pack or an embedded generator, in one shape. TFDS joins them here."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from aoft_bench.data import decode, folder
from aoft_bench.data.resample import squash
from aoft_bench.data.tasks import SPLITS, Task

Shape = tuple[int, int, int]

_THREADS = 4  # Pillow decodes outside the interpreter lock
_BLOCK = 256  # images decoded before they are written: bounds the memory


@dataclass(frozen=True)
class Source:
    """A task's images and labels before they are cached.

    `stamp` identifies the content without decoding or drawing it; what is a function is called only when the cache
    has to be written. `labels()` gives the labels (N,) int64 of each split, `native_shape(limit)` the (H, W, C) all
    images share, or None where they differ or a side exceeds `limit`, and `read(split, index)` one image (H, W, C)
    uint8.
    """

    kind: str
    note: str
    official: bool
    official_note: str
    classes: int
    class_names: tuple[str, ...] | None
    stamp: str
    labels: Callable[[], dict[str, np.ndarray]]
    native_shape: Callable[[int], Shape | None]
    read: Callable[[str, int], np.ndarray]

    def blocks(
        self, split: str, shape: Shape, squashed_by: str | None, advance: Callable[[int], None]
    ) -> Iterator[np.ndarray]:
        """The images of a split in blocks (n, *shape); resized by the interpolation `squashed_by` unless it is None."""

        def one(index: int) -> np.ndarray:
            image = self.read(split, index)
            return image if squashed_by is None else squash(image, shape[0], squashed_by)

        count = len(self.labels()[split])
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, count, _BLOCK):
                images = list(pool.map(one, range(start, min(start + _BLOCK, count))))
                yield np.stack(images)
                advance(len(images))


def from_folder(task: Task, root: Path | None) -> Source:
    """The folder pack of a task; raises `UserError` where there is none or its lists are wrong."""
    pack = folder.read_pack(task, folder.find_pack(task, root))
    labels = {split: listing.labels for split, listing in pack.listings.items()}
    kinds = sorted({Path(name).suffix.lower() or "no suffix" for one in pack.listings.values() for name in one.files})

    def native_shape(limit: int) -> Shape | None:
        """Read headers until one image differs from the first or is too large."""
        first = None
        for split, listing in pack.listings.items():
            for index, name in enumerate(listing.files):
                size = decode.image_size(pack.root / name, pack.where(split, index))
                first = first or size
                if size != first or max(size) > limit:
                    return None
        return (*first, 3) if first else None

    def read(split: str, index: int) -> np.ndarray:
        return decode.decode(pack.root / pack.listings[split].files[index], pack.where(split, index))

    return Source(
        kind="folder",
        note=f"folder pack {pack.root.resolve().name}, images {' '.join(kinds)}",
        official=False,  # no pack can prove itself: the published ones are lossy JPEG copies of the official splits
        official_note=_pack_note(task, pack, [len(labels[split]) for split in SPLITS]),
        classes=pack.classes,
        class_names=pack.class_names,
        stamp=pack.stamp,
        labels=lambda: labels,
        native_shape=native_shape,
        read=read,
    )


def _pack_note(task: Task, pack: folder.Pack, sizes: Sequence[int]) -> str:
    """Why the pack cannot stand unmarked beside published rows."""
    if task.suite == "own":
        return "a pack of the user's own"
    reasons = ["folder pack: not verified against the official split"]
    wanted = [task.sizes[split] for split in SPLITS]
    if sizes != wanted:
        reasons.append(f"sizes {'/'.join(map(str, sizes))} instead of {'/'.join(map(str, wanted))}")
    if pack.classes != task.classes:
        reasons.append(f"{pack.classes} classes instead of {task.classes}")
    if pack.untrained:
        reasons.append(f"{len(pack.untrained)} classes without a training image")
    return "; ".join(reasons)


def from_embedded(task: Task) -> Source:
    """One of the generators of `aoft_bench.data.embedded`; needs no files."""
    from aoft_bench.data import embedded

    code = Path(embedded.__file__).read_bytes()
    # the drawn images may change with the code and with NumPy's generators, the digits with scikit-learn
    stamp = hashlib.sha256(
        b"\0".join([code, task.name.encode(), _version("numpy").encode(), _version("scikit-learn").encode()])
    )

    @cache
    def drawn() -> dict[str, embedded.RawSplit]:
        return embedded.load(task.name)

    def native_shape(limit: int) -> Shape | None:
        height, width, channels = drawn()["train800"].images.shape[1:]
        return (height, width, channels) if max(height, width) <= limit else None

    return Source(
        kind="embedded",
        note=f"embedded generator {task.name}",
        official=False,
        official_note="embedded task: there is no published split",
        classes=task.classes,
        class_names=None,
        stamp=stamp.hexdigest(),
        labels=lambda: {split: drawn()[split].labels for split in SPLITS},
        native_shape=native_shape,
        read=lambda split, index: drawn()[split].images[index],
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
