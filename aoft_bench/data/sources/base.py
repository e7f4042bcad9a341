"""What a task is prepared from, in one shape: a folder pack, json splits or an embedded generator; see also `tfds`."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aoft_bench.data import decode, manifest
from aoft_bench.data.cache import Block
from aoft_bench.data.sources import fgvc, folder
from aoft_bench.data.tasks import Task

Shape = tuple[int, int, int]
Fit = Callable[[np.ndarray], np.ndarray]  # how an image comes to the size in which it is cached

_THREADS = 4  # Pillow decodes outside the interpreter lock
_BLOCK = 256  # images decoded before they are written: bounds the memory


class Example(NamedTuple):
    """One image (H, W, C) uint8, C in {1, 3}, its label, and its id in the source ("" if it has none)."""

    image: np.ndarray
    label: int
    id: str


@dataclass(frozen=True)
class Source:
    """A task's images and labels before they are cached.

    `stamp` identifies the content without decoding or drawing it; what is a function is called only when the cache
    has to be written. `native_shape(limit)` is the (H, W, C) all images share, or None where they differ or a side
    exceeds `limit`; `channels()` is 1 where all are grey, else 3. `native_sizes()` gives (N, 2) heights and widths of
    each split, for tasks whose images are cropped. `compared(rows)` says what the images' ids show against a list of
    the official ones: what is wrong with them, and what is right.
    """

    kind: str
    note: str
    official: bool
    official_note: str
    classes: int
    class_names: tuple[str, ...] | None
    stamp: str
    sizes: Mapping[str, int]
    native_shape: Callable[[int], Shape | None]
    channels: Callable[[], int]
    read: Callable[[str, int], Example]
    native_sizes: Callable[[], dict[str, np.ndarray]] | None = None
    compared: Callable[[manifest.Manifest], tuple[str, str]] = lambda rows: ("", "")

    def blocks(self, split: str, fit: Fit | None, flat: bool, advance: Callable[[int], None]) -> Iterator[Block]:
        """The images of a split, each brought to its cached size by `fit`; end to end in one array where `flat`."""

        def one(index: int) -> tuple[np.ndarray, manifest.Row]:
            example = self.read(split, index)
            row = manifest.Row(example.label, example.id, manifest.digest(example.image))
            return example.image if fit is None else fit(example.image), row

        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, self.sizes[split], _BLOCK):
                done = list(pool.map(one, range(start, min(start + _BLOCK, self.sizes[split]))))
                images = [image for image, _ in done]
                joined = np.concatenate([image.reshape(-1) for image in images]) if flat else np.stack(images)
                yield Block(joined, [row for _, row in done])
                advance(len(done))


def from_folder(task: Task, root: Path | None) -> Source:
    """The folder pack of a task; raises `UserError` where there is none or its lists are wrong."""
    pack = folder.read_pack(task, folder.find_pack(task, root))
    sizes = {split: len(listing.files) for split, listing in pack.listings.items()}
    kinds = sorted({Path(name).suffix.lower() or "no suffix" for one in pack.listings.values() for name in one.files})

    @cache
    def channels() -> int:
        """1 where every image is stored as grey, so that a grey task takes a third of the room."""
        for split, listing in pack.listings.items():
            for index, name in enumerate(listing.files):
                if not decode.is_grey(pack.root / name, pack.where(split, index)):
                    return 3
        return 1

    def native_shape(limit: int) -> Shape | None:
        """Read headers until one image differs from the first or is too large."""
        first = None
        for split, listing in pack.listings.items():
            for index, name in enumerate(listing.files):
                size = decode.image_size(pack.root / name, pack.where(split, index))
                first = first or size
                if size != first or max(size) > limit:
                    return None
        return (*first, channels()) if first else None

    def read(split: str, index: int) -> Example:
        listing = pack.listings[split]
        image = decode.decode(pack.root / listing.files[index], pack.where(split, index))
        return Example(image[..., : channels()], int(listing.labels[index]), "")

    return Source(
        kind="folder",
        note=f"folder pack {pack.root.resolve().name}, images {' '.join(kinds)}",
        official=False,  # no pack can prove itself: the published ones are lossy JPEG copies of the official splits
        official_note=_pack_note(task, pack, sizes),
        classes=pack.classes,
        class_names=pack.class_names,
        stamp=pack.stamp,
        sizes=sizes,
        native_shape=native_shape,
        channels=channels,
        read=read,
    )


def _pack_note(task: Task, pack: folder.Pack, sizes: Mapping[str, int]) -> str:
    """Why the pack cannot stand unmarked beside published rows."""
    if task.suite == "own":
        return "a pack of the user's own"
    reasons = ["folder pack: not verified against the official split"]
    return "; ".join(reasons + task.deviations(sizes, pack.classes, len(pack.untrained)))


def from_json(task: Task, root: Path | None) -> Source:
    """An FGVC set with its json splits, cropped when it is used; raises `UserError` where it is missing or wrong."""
    found = fgvc.read_set(task, folder.find_pack(task, root))
    sizes = {split: len(listing.files) for split, listing in found.listings.items()}

    def native_sizes() -> dict[str, np.ndarray]:
        return {
            split: np.array(
                [
                    decode.image_size(found.images / name, found.where(split, index))
                    for index, name in enumerate(listing.files)
                ],
                np.int64,
            )
            for split, listing in found.listings.items()
        }

    def read(split: str, index: int) -> Example:
        listing = found.listings[split]
        name = listing.files[index]
        return Example(decode.decode(found.images / name, found.where(split, index)), int(listing.labels[index]), name)

    return Source(
        kind="json",
        note=f"json splits of {found.root.resolve().name}",
        official=False,  # there is nothing to hold VPT's lists against
        official_note=fgvc.note(task, found),
        classes=found.classes,
        class_names=None,
        stamp=found.stamp,
        sizes=sizes,
        native_shape=lambda limit: None,
        channels=lambda: 3,
        read=read,
        native_sizes=native_sizes,
    )


def from_embedded(task: Task) -> Source:
    """One of the generators of `aoft_bench.data.sources.embedded`; needs no files."""
    from aoft_bench.data.sources import embedded

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

    def read(split: str, index: int) -> Example:
        raw = drawn()[split]
        return Example(raw.images[index], int(raw.labels[index]), "")

    return Source(
        kind="embedded",
        note=f"embedded generator {task.name}",
        official=False,
        official_note="embedded task: there is no published split",
        classes=task.classes,
        class_names=None,
        stamp=stamp.hexdigest(),
        sizes=task.sizes,
        native_shape=native_shape,
        channels=lambda: drawn()["train800"].images.shape[-1],
        read=read,
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
