"""Batches without worker processes: small sets are kept on the device, large ones are read from the memory map."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aoft_bench.data.image_list import Images
from aoft_bench.data.transforms import draw_mirrored, flip, mirror, resize

_READ = 256  # images moved to the device at a time


def to_device(images: Images, size: int, interpolation: str, device: torch.device | str = "cpu") -> Tensor:
    """Images (N, H, W, C) uint8, possibly memory-mapped, as (N, C, size, size) uint8 on `device`, resized there."""
    count, _, _, channels = images.shape
    out = torch.empty((count, channels, size, size), dtype=torch.uint8, device=device)
    for start in range(0, count, _READ):
        # np.array copies: torch needs writable memory, and the memory map is read-only
        part = torch.from_numpy(np.array(images[start : start + _READ])).to(device)
        out[start : start + _READ] = resize(part.permute(0, 3, 1, 2), size, interpolation)
    return out


class Batches:
    """Batches of `images`, which have a length, and of `labels` (N,) int64, moved to `device`.

    The last, smaller batch is kept. Raises `ValueError` for another number of labels, and for a batch size below 1.
    """

    def __init__(self, images: Any, labels: Tensor | np.ndarray, batch_size: int, device: torch.device | str) -> None:
        if len(labels) != len(images):
            raise ValueError(f"{len(images)} images but {len(labels)} labels")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.images, self.batch_size, self.device = images, batch_size, torch.device(device)
        # np.array copies: torch needs writable memory, and a memory map is read-only
        self.labels = torch.as_tensor(np.array(labels) if isinstance(labels, np.ndarray) else labels).to(self.device)

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)


class EpochSeeded(Batches):
    """Batches whose epoch e is drawn from a CPU generator seeded by (seed, e).

    An epoch is the same on every device and after a resume. Lightning calls `loader.sampler.set_epoch(epoch)` before
    each epoch; `sampler` is the loader itself. Other training loops must call `set_epoch`, or every epoch is epoch 0.
    """

    batch_sampler = None  # read by Lightning from a validation loader that has a sampler
    seed = epoch = 0

    @property
    def sampler(self) -> "EpochSeeded":
        """The object whose `set_epoch` Lightning calls."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def generator(self) -> torch.Generator:
        """A new generator for the current epoch."""
        # 63 bits, different for each (seed, epoch), unlike seed + epoch
        entropy = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(entropy) >> 1)


class DeviceBatches(EpochSeeded):
    """Batches (images (B, C, S, S) uint8, labels (B,) int64) of a set that is on the device.

    `images` (N, C, S, S) uint8 have the model's input size already (see `to_device`). The generator of an epoch draws
    its order with `shuffle`, and the mirrored images with `random_flip`.
    """

    images: Tensor

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | np.ndarray,
        batch_size: int,
        *,
        shuffle: bool = False,
        random_flip: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(images, labels, batch_size, images.device)
        self.shuffle, self.random_flip, self.seed = shuffle, random_flip, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels, _ in self.with_rows():
            yield images, labels

    def with_rows(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The same batches with rows (B,) int64: i for image i of the set, N + i for its mirror image."""
        generator = self.generator()
        count, device = len(self.images), self.images.device
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        order = order.to(device)
        for start in range(0, count, self.batch_size):
            rows = order[start : start + self.batch_size]
            images, labels = self.images[rows], self.labels[rows]
            if self.random_flip:
                mirrored = draw_mirrored(len(rows), generator).to(device)
                images, rows = mirror(images, mirrored), rows + count * mirrored
            yield images, labels, rows


class StreamedBatches(EpochSeeded):
    """Batches from arrays that are too large for the device: a test split, or many training images.

    Reads `images` (N, H, W, C) uint8, of memory maps, one batch ahead, moves them to `device` and resizes them there.
    Yields (images (B, C, size, size) uint8, labels (B,) int64), the batches of `DeviceBatches` with the same options,
    bit for bit.
    """

    images: Images

    def __init__(
        self,
        images: Images,
        labels: Tensor | np.ndarray,
        batch_size: int,
        *,
        size: int,
        interpolation: str = "bicubic",
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        random_flip: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(images, labels, batch_size, device)
        self.size, self.interpolation = size, interpolation
        self.shuffle, self.random_flip, self.seed = shuffle, random_flip, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = self.generator()
        count = len(self.images)
        order = torch.randperm(count, generator=generator) if self.shuffle else None
        slices = [slice(start, start + self.batch_size) for start in range(0, count, self.batch_size)]
        parts: list[Any] = slices if order is None else [order[part] for part in slices]
        for part, batch in zip(parts, _ahead(self._read, parts), strict=True):
            moved = batch.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            images = resize(moved, self.size, self.interpolation)
            labels = self.labels[part if order is None else part.to(self.device)]
            yield flip(images, generator) if self.random_flip else images, labels

    def _read(self, part: Any) -> Tensor:
        """Images (n, H, W, C) in memory, pinned for a CUDA device, so that they are copied asynchronously.

        part: a slice, or the numbers of the images.
        """
        images = self.images[part if isinstance(part, slice) else part.numpy()]
        batch = torch.empty(images.shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        np.copyto(batch.numpy(), images)
        return batch


def drawn_batches(
    images: Images,
    labels: Tensor | np.ndarray,
    batch_size: int,
    *,
    size: int,
    interpolation: str,
    device: torch.device,
    **drawn: Any,
) -> DeviceBatches | StreamedBatches:
    """Batches of a training split: from the device if it has room for all images, else streamed. They are the same.

    drawn: shuffle, random_flip and seed.
    """
    if len(images) * images.shape[-1] * size**2 <= _room(device):
        return DeviceBatches(to_device(images, size, interpolation, device), labels, batch_size, **drawn)
    return StreamedBatches(images, labels, batch_size, size=size, interpolation=interpolation, device=device, **drawn)


def _room(device: torch.device) -> int:
    """Bytes that training images may take: half of what a GPU has free. On a CPU 1 GB, since a page of the memory map
    that was read before is as near as a copy of it."""
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 10**9


def _ahead(read: Callable[[Any], Tensor], parts: list[Any]) -> Iterator[Tensor]:
    """read(part) of each part in order; the next one is read in a thread while the caller uses this one."""
    with ThreadPoolExecutor(1) as pool:
        pending = [pool.submit(read, part) for part in parts[:1]]
        for part in parts[1:]:
            batch = pending.pop().result()
            pending.append(pool.submit(read, part))
            yield batch
        yield from (one.result() for one in pending)
