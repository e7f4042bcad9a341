"""Batches of images whose constant activations are kept: with the rows at which they are."""

from collections.abc import Iterator

from torch import Tensor

from aoft_bench.data.loader import DeviceBatches


class CachedBatches:
    """Yields (images, labels, rows) of `batches`, an epoch after the other, for `FrozenCache.select`.

    first: the row of the first image.
    """

    batch_sampler = None  # Lightning reads it from a loader that has a sampler

    def __init__(self, batches: DeviceBatches, first: int = 0) -> None:
        self.batches, self.first = batches, first

    @property
    def sampler(self) -> DeviceBatches:
        """Lightning calls its `set_epoch`."""
        return self.batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for images, labels, rows in self.batches.with_rows():
            yield images, labels, rows + self.first
