"""The share that each of several processes has in every batch: the same epoch, drawn once and cut."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NOBODY = -100  # the label of an image that counts for nothing


@dataclass(frozen=True)
class Share:
    """That of process `rank` among `count`, which are numbered from 0."""

    rank: int
    count: int

    def of(self, whole: int) -> slice:
        """Its part of `whole` things in order: the parts of all processes are disjoint, complete, and differ by one."""
        return slice(whole * self.rank // self.count, whole * (self.rank + 1) // self.count)


class Shares:
    """Batches (images, labels, whole) of one process: its share of a batch of `batches`, which has `whole` images.

    Order, crops and mirroring are drawn for the whole batch before it is cut, so that they do not depend on the number
    of processes. Where a batch has no image for a process, it gets one with the label `NOBODY`: all take every step.
    """

    batch_sampler = None  # Lightning looks for it in a loader that has a sampler and is used for validation

    def __init__(self, batches: Any, share: Share) -> None:
        self.batches, self.share = batches, share

    @property
    def sampler(self) -> Any:
        """What Lightning calls `set_epoch` on."""
        return getattr(self.batches, "sampler", None)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        for images, labels in self.batches:
            whole = len(labels)
            mine = self.share.of(whole)
            if mine.start < mine.stop:
                yield images[mine], labels[mine], whole
            else:
                yield images[:1], torch.full_like(labels[:1], NOBODY), whole
