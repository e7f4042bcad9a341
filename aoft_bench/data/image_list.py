"""Images that are read where they lie: of different sizes in flat arrays, and those of several arrays as of one."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np


class ImageList:
    """N colour images of different sizes over flat arrays; nothing is copied.

    `flats`, each (total,) uint8 and perhaps a memory map, hold the images (H_i, W_i, 3) one after the other; `sizes`
    (N, 2) int64 their heights and widths; image i begins at `offsets[i]` of all values, `offsets` (N + 1,) int64. No
    image lies in two of the arrays. Raises `ValueError` where `flats` and `sizes` do not fit.
    """

    def __init__(self, flats: np.ndarray | Sequence[np.ndarray], sizes: np.ndarray) -> None:
        self.flats = (flats,) if isinstance(flats, np.ndarray) else tuple(flats)
        for flat in self.flats:
            if flat.ndim != 1 or flat.dtype != np.uint8:
                raise ValueError(f"flat must be (total,) uint8, got {flat.shape} {flat.dtype}")
        if sizes.ndim != 2 or sizes.shape[1] != 2:
            raise ValueError(f"sizes must be (N, 2), heights and widths, got {sizes.shape}")
        self.sizes = np.array(sizes, dtype=np.int64)
        self.offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
        np.cumsum(3 * self.sizes.prod(axis=1), out=self.offsets[1:])
        self._starts = _starts(self.flats)
        if self.offsets[-1] != self._starts[-1]:
            raise ValueError(f"images of these sizes have {self.offsets[-1]} values, flat has {self._starts[-1]}")
        if not np.isin(self._starts, self.offsets).all():
            raise ValueError("an image of these sizes lies in two arrays")

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as a view (H, W, 3) of its array; a negative index counts from the end."""
        i = range(len(self))[index]
        height, width = self.sizes[i]
        which = bisect_right(self._starts, self.offsets[i]) - 1
        start = self.offsets[i] - self._starts[which]
        return self.flats[which][start : start + 3 * height * width].reshape(height, width, 3)


class JoinedArrays:
    """Images (N, H, W, C) of several arrays, perhaps memory maps, one after the other. Nothing is copied before it is
    asked for. Raises `ValueError` for arrays of different kinds of images."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        kinds = {(array.shape[1:], array.dtype) for array in arrays}
        if len(kinds) != 1:
            raise ValueError(f"the arrays hold {len(kinds)} kinds of images, must be one")
        self._arrays, self._starts = tuple(arrays), _starts(arrays)
        self.shape = (self._starts[-1], *arrays[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: int | slice | np.ndarray) -> np.ndarray:
        """An image, or those of a slice or of numbers (n,), in their order."""
        rows = np.arange(len(self))[part]
        if rows.ndim == 0:
            return self[rows[None]][0]
        found = np.empty((len(rows), *self.shape[1:]), self._arrays[0].dtype)
        for array, start in zip(self._arrays, self._starts, strict=False):
            inside = (rows >= start) & (rows < start + len(array))
            found[inside] = array[rows[inside] - start]
        return found


Images = np.ndarray | JoinedArrays


def joined(first: np.ndarray | ImageList, second: np.ndarray | ImageList) -> JoinedArrays | ImageList:
    """The images of both, in order, both of one kind."""
    if isinstance(first, ImageList) and isinstance(second, ImageList):
        return ImageList((*first.flats, *second.flats), np.concatenate([first.sizes, second.sizes]))
    assert not isinstance(first, ImageList) and not isinstance(second, ImageList)
    return JoinedArrays([first, second])


def _starts(arrays: Sequence[np.ndarray]) -> list[int]:
    """Where each array begins among the entries of all, and the number of these at the end."""
    return [0, *np.cumsum([len(array) for array in arrays]).tolist()]
