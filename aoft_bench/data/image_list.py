"""Images of different sizes, kept one after the other in one flat array."""

import numpy as np


class ImageList:
    """N colour images of different sizes over one flat array; nothing is copied.

    `flat` (total,) uint8, perhaps a memory map, holds the images (H_i, W_i, 3) one after the other; `sizes` (N, 2)
    int64 their heights and widths; image i begins at `offsets[i]`, `offsets` (N + 1,) int64. Raises `ValueError`
    where `flat` and `sizes` do not fit.
    """

    def __init__(self, flat: np.ndarray, sizes: np.ndarray) -> None:
        if flat.ndim != 1 or flat.dtype != np.uint8:
            raise ValueError(f"flat must be (total,) uint8, got {flat.shape} {flat.dtype}")
        if sizes.ndim != 2 or sizes.shape[1] != 2:
            raise ValueError(f"sizes must be (N, 2), heights and widths, got {sizes.shape}")
        self.flat = flat
        self.sizes = np.array(sizes, dtype=np.int64)
        self.offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
        np.cumsum(3 * self.sizes.prod(axis=1), out=self.offsets[1:])
        if self.offsets[-1] != len(flat):
            raise ValueError(f"images of these sizes have {self.offsets[-1]} values, flat has {len(flat)}")

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as a view (H, W, 3) of `flat`; a negative index counts from the end."""
        i = range(len(self))[index]
        height, width = self.sizes[i]
        return self.flat[self.offsets[i] : self.offsets[i + 1]].reshape(height, width, 3)


def joined(first: ImageList, second: ImageList) -> ImageList:
    """The images of both, in order, copied to new memory."""
    return ImageList(np.concatenate([first.flat, second.flat]), np.concatenate([first.sizes, second.sizes]))
