"""What every source of images gives, whatever its files are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from aoft_bench.data import manifest

Shape = tuple[int, int, int]
Member = tuple[str, int]  # a split, and a position in it
Fit = Callable[[np.ndarray], np.ndarray]  # resizes an image to the size at which it is cached

_THREADS = 4  # Pillow decodes without holding the interpreter lock
_BLOCK = 256  # images in memory at a time


class Example(NamedTuple):
    """One image (H, W, C) uint8, C in {1, 3}, its label, and its id in the source ("" if it has none)."""

    image: np.ndarray
    label: int
    id: str


class ImageBlock(NamedTuple):
    """Some images of a split, in order, (n, H, W, C) uint8 or flat (values,) if sizes differ; their manifest rows."""

    images: np.ndarray
    rows: list[manifest.ManifestRow]


class Listed(NamedTuple):
    """What is known of the images of a split before any is read: labels (N,) int64, and a name of each, all unequal."""

    labels: np.ndarray
    names: Sequence[str]


@dataclass(frozen=True)
class Source:
    """The images, labels and ids of a task's three splits, before they are cached.

    A source may lack val and test, until `draw.complete` draws them.

    kind: its name in `sources.choose.SOURCES`; note: what it is, in words. official, official_note: whether the images
    are those of the published splits, and why not. stamp: identifies the content without decoding or drawing it.
    content: a digest of the files where they are not part of the stamp, since a cache is used without them too.
    listed: the images of each split where these can be drawn from; drawn: what `draw.complete` drew, for the record;
    part: the source with all images, and for each split where in that its images are, if this is a part of them.

    The functions are called only when a cache has to be written. read(split, index): one example. native_shape(limit):
    the (H, W, C) that all images share, None where they differ or a side exceeds `limit`. channels(): 1 if all images
    are grey, else 3. native_sizes(): heights and widths (N, 2) of each split, for tasks whose images are cropped.
    compared(manifest): how the ids disagree with the official list, and how they agree, in words.
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
    content: str | None = None
    listed: Mapping[str, Listed] | None = None
    drawn: Mapping[str, Any] | None = None
    part: "tuple[Source, Mapping[str, Sequence[Member]]] | None" = None
    compared: Callable[[manifest.Manifest], tuple[str, str]] = lambda rows: ("", "")

    def blocks(self, split: str, fit: Fit | None, flat: bool, advance: Callable[[int], None]) -> Iterator[ImageBlock]:
        """The images of a split, resized by `fit`; one after the other in one array with `flat`.

        `advance` is called with the number of images after each block.
        """

        def one(index: int) -> tuple[np.ndarray, manifest.ManifestRow]:
            example = self.read(split, index)
            row = manifest.ManifestRow(example.label, example.id, manifest.digest(example.image))
            return example.image if fit is None else fit(example.image), row

        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, self.sizes[split], _BLOCK):
                done = list(pool.map(one, range(start, min(start + _BLOCK, self.sizes[split]))))
                images = [image for image, _ in done]
                joined = np.concatenate([image.reshape(-1) for image in images]) if flat else np.stack(images)
                yield ImageBlock(joined, [row for _, row in done])
                advance(len(done))
