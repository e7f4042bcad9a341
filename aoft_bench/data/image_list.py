"""Images of different sizes: resized by the short side, and stored one behind the other in one flat array."""

import numpy as np
from PIL import Image

from aoft_bench.data.resample import INTERPOLATIONS
from aoft_bench.utils.errors import UserError, unknown

_PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class ImageList:
    """N colour images of their own sizes over one flat array; nothing is copied.

    `flat` (total,) uint8, perhaps a memory map, holds the images (H_i, W_i, 3) one behind the other; `sizes` (N, 2)
    int64 their heights and widths; image i begins at `offsets[i]`, `offsets` (N + 1,) int64. Raises `ValueError`
    where flat and sizes do not belong together.
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
        """Image `index` as a view (H, W, 3) of `flat`; counts from the end where negative."""
        place = range(len(self))[index]
        height, width = self.sizes[place]
        return self.flat[self.offsets[place] : self.offsets[place + 1]].reshape(height, width, 3)


def joined(first: ImageList, second: ImageList) -> ImageList:
    """The images of both, in order, in new memory."""
    return ImageList(np.concatenate([first.flat, second.flat]), np.concatenate([first.sizes, second.sizes]))


def resize_to(image_size: int) -> int:
    """The short side before a crop of `image_size`: round(image_size * 256 / 224), so 256 for 224."""
    return round(image_size * 256 / 224)


def short_side_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) that `short_side` gives: the short side `size`, the long one int(size * long / short)."""
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def short_side(image: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    """One image (H, W, 3) uint8 resized to a short side of `size`, the aspect ratio kept; (H', W', 3) uint8.

    Equals torchvision.transforms.Resize(size) on a PIL image for `bicubic` and `bilinear` (VPT has torchvision's
    default, bilinear). We go across first, then down, see `resample`; Pillow 13 goes down first in some images about
    twice as tall as wide or taller, and differs there. Raises `UserError` for `bilinear_tf`, which is squashing only,
    and for unknown names.
    """
    if interpolation not in INTERPOLATIONS:
        raise unknown("interpolation", interpolation, _PILLOW)
    if interpolation not in _PILLOW:
        raise UserError(
            f"the interpolation {interpolation} is not defined for resizing by the short side; "
            f"choose data.interpolation={' or '.join(sorted(_PILLOW, reverse=True))}"
        )
    height, width = short_side_shape(image.shape[0], image.shape[1], size)
    method = _PILLOW[interpolation]
    flat = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(flat.resize((width, flat.height), method).resize((width, height), method))
