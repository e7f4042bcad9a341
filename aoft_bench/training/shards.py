"""Distributed training: each process (rank) takes its shard of every batch, and all draw the same epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from aoft_bench.methods.base import Objective, at_least_fp32

IGNORED = -100  # the label of a padding image; cross_entropy's own default for ignore_index


@dataclass(frozen=True)
class Shard:
    """The part of process `rank` (from 0) among `world_size`."""

    rank: int
    world_size: int

    def slice_of(self, count: int) -> slice:
        """Its part of `count` items. The parts of all ranks are disjoint, complete, and differ by at most one item."""
        return slice(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)


class ShardedBatches:
    """Yields (images, labels, batch_size): this rank's shard of a batch, and the size of the whole batch.

    Order, crops and mirroring are drawn for the whole batch before it is cut, so they do not depend on the number of
    processes. Every rank must take every step: an empty shard is padded with one image whose label is `IGNORED`.
    """

    batch_sampler = None  # Lightning reads it from a validation loader that has a sampler

    def __init__(self, batches: Any, shard: Shard) -> None:
        self.batches, self.shard = batches, shard

    @property
    def sampler(self) -> Any:
        """Lightning calls its `set_epoch`."""
        return getattr(self.batches, "sampler", None)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        for images, labels in self.batches:
            part = self.shard.slice_of(len(labels))
            if part.start < part.stop:
                yield images[part], labels[part], len(labels)
            else:
                yield images[:1], torch.full_like(labels[:1], IGNORED), len(labels)


class ShardObjective(Objective):
    """The loss of a shard: sums over its images * world_size / batch_size, the size of the whole batch.

    DDP averages gradients over the processes. With this loss the average is the gradient of the mean over the whole
    batch, also where shards differ in size.
    """

    def __init__(self, batch_size: int, world_size: int, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing)
        self.batch_size, self.world_size = batch_size, world_size

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        options: Any = {"ignore_index": IGNORED, "label_smoothing": self.label_smoothing, "reduction": "sum"}
        return cross_entropy(at_least_fp32(logits), labels, **options) * self.world_size / self.batch_size

    def mean(self, values: Tensor, labels: Tensor) -> Tensor:
        return values[labels != IGNORED].sum() * self.world_size / self.batch_size
