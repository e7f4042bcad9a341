"""Batches of crops from images of different sizes, which are on the device or in a memory map."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from aoft_bench.data.image_list import ImageList
from aoft_bench.data.loader import EpochSeeded
from aoft_bench.data.transforms import flip

_MOVED = 2**26  # bytes moved to the device at a time


class CroppedBatches(EpochSeeded):
    """Batches (images (B, 3, size, size) uint8, labels (B,) int64) of crops; neither side of an image is below `size`.

    With `random_crop` top and left are uniform over the H - size + 1 and W - size + 1 positions. Otherwise the crop is
    in the middle, rounded as in torchvision's CenterCrop: top = round((H - size) / 2) with halves to even. The
    generator of an epoch draws its order, crops and flips, in this sequence; the order is that of `DeviceBatches`.

    With `resident` the pixels are kept on `device` and cropped there. Otherwise they stay in their memory map, and only
    crops are moved. The default is resident on a CUDA device where the pixels take less than half of its free memory.
    """

    images: ImageList

    def __init__(
        self,
        images: ImageList,
        labels: Tensor | np.ndarray,
        batch_size: int,
        *,
        size: int,
        device: torch.device | str,
        shuffle: bool = False,
        random_crop: bool = True,
        random_flip: bool = False,
        seed: int = 0,
        resident: bool | None = None,
    ) -> None:
        super().__init__(images, labels, batch_size, device)
        self.size, self.shuffle, self.seed = size, shuffle, seed
        self.random_crop, self.random_flip = random_crop, random_flip
        if resident is None:
            resident = self.device.type == "cuda" and images.offsets[-1] < torch.cuda.mem_get_info(self.device)[0] // 2
        self.resident = resident
        self._rows = _rows_on(images.flats, size, self.device) if resident else None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = self.generator()
        count = len(self.images)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        corners = self._corners(order, generator)
        crops = self._from_memory(order, corners) if self._rows is None else self._on_device(self._rows, order, corners)
        chosen = order.to(self.device)
        for start, crop in zip(range(0, count, self.batch_size), crops, strict=True):
            images = crop.permute(0, 3, 1, 2).contiguous()
            labels = self.labels[chosen[start : start + self.batch_size]]
            yield flip(images, generator) if self.random_flip else images, labels

    def _corners(self, order: Tensor, generator: torch.Generator) -> Tensor:
        """Top and left (N, 2) int64 of the crops of an epoch, in its order."""
        room = torch.from_numpy(self.images.sizes)[order] - self.size
        if not self.random_crop:
            return (room / 2).round().long()
        # float64: the largest float32 below 1, times the positions, can round up to one too many
        share = torch.rand(room.shape, generator=generator, dtype=torch.float64)
        return (share * (room + 1)).long()

    def _on_device(self, rows: Tensor, order: Tensor, corners: Tensor) -> Iterator[Tensor]:
        """Crops (B, size, size, 3) taken on the device; the rows of an image begin 3 W values after each other."""
        widths = torch.from_numpy(self.images.sizes)[order, 1]
        first = torch.from_numpy(self.images.offsets)[order] + 3 * (corners[:, 0] * widths + corners[:, 1])
        widths, first = widths.to(self.device), first.to(self.device)
        down = 3 * torch.arange(self.size, device=self.device)
        for start in range(0, len(order), self.batch_size):
            part = slice(start, start + self.batch_size)
            cut = rows[first[part, None] + down * widths[part, None]]
            yield cut.view(-1, self.size, self.size, 3)

    def _from_memory(self, order: Tensor, corners: Tensor) -> Iterator[Tensor]:
        """Crops copied from the memory map image by image, and moved to the device as a batch."""
        chosen, tops_and_lefts, size = order.tolist(), corners.tolist(), self.size
        for start in range(0, len(chosen), self.batch_size):
            part = slice(start, start + self.batch_size)
            cut = np.empty((len(chosen[part]), size, size, 3), dtype=np.uint8)
            for out, number, (top, left) in zip(cut, chosen[part], tops_and_lefts[part], strict=True):
                out[:] = self.images[number][top : top + size, left : left + size]
            yield torch.from_numpy(cut).to(self.device)


def _rows_on(flats: Sequence[np.ndarray], size: int, device: torch.device) -> Tensor:
    """Pixels on the device as a view (total - 3 size + 1, 3 size): entry i is the row of a crop that starts at i."""
    pixels, before = torch.empty(sum(map(len, flats)), dtype=torch.uint8, device=device), 0
    for flat in flats:
        for start in range(0, len(flat), _MOVED):
            # np.array copies: torch needs writable memory, and the memory map is read-only
            part = torch.from_numpy(np.array(flat[start : start + _MOVED]))
            pixels[before : before + len(part)] = part.to(device)
            before += len(part)
    return pixels.unfold(0, 3 * size, 1)
