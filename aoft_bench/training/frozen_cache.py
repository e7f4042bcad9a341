"""What is frozen is computed once: the activations that `frozen_part` finds are kept and looked up.

The training images are the same in every epoch. A block that stands before the first trained parameter gives the same
tokens for an image each time, so its tokens are computed once for each image (and, with flips, for its mirror image)
and looked up in every step. Where nothing before the head is trained, the features that the head reads are kept. The
blocks beside which a side network runs are frozen as a whole, so the tokens of all of them are kept.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aoft_bench.data.loader import DeviceBatches
from aoft_bench.data.transforms import normalize
from aoft_bench.training.frozen_part import FrozenPart, frozen_part, head_of
from aoft_bench.training.hardware import autocast, free_memory
from aoft_bench.training.job import TrainingJob

SHARE = 4  # of the free memory, the part that the cache may take is 1 / SHARE; on the disk too
TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2}  # of the logits with and without the cache, relative to the largest logit


class _SeenError(Exception):
    """All that is kept has been seen; the rest of the forward pass is not needed."""


class FrozenCache:
    """The constant activations of the training images of a job, and the batches that look them up.

    Rows are those of `DeviceBatches.with_rows`: images, then their mirror images. While `replaying`, the model reads
    the rows that `select` chose last, in place of computing them. Tensors lie on the device, or in a file that is
    mapped into memory.
    """

    def __init__(self, job: TrainingJob, part: FrozenPart) -> None:
        assert isinstance(job.batches, DeviceBatches)
        self._job, self.part = job, part
        self.batches = CachedBatches(job.batches)
        self._model: Any = job.adapted.model
        self._values: dict[str, Tensor] = {}  # by path of the block; "" for features. (rows, ...)
        # one memory for all steps, since a CUDA graph reads from where it read when it was captured
        self._rows = torch.zeros(job.batches.batch_size, dtype=torch.int64, device=job.device)
        self._count = 0
        self.seconds = 0.0  # that filling took
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def bytes(self) -> int:
        return sum(values.numel() * values.element_size() for values in self._values.values())

    def select(self, rows: Tensor) -> None:
        """Choose the rows (B,) of the next step."""
        self._count = len(rows)
        self._rows[: self._count].copy_(rows)

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """In this context constant modules of the model return what was computed before."""
        replaced: list[Any] = []
        try:
            if self.part.features:
                head = head_of(self._model)
                self._model.forward = lambda images: head(self._lookup(""))
                replaced.append(self._model)
            for path in self.part.blocks:
                block: Any = self._model.get_submodule(path)
                block.forward = self._replay(path)
                replaced.append(block)
            yield
        finally:
            for module in replaced:
                del module.forward

    def _replay(self, path: str) -> Any:
        if path in self._values:
            return lambda tokens, **options: self._lookup(path)
        return lambda tokens, **options: tokens  # the next block ignores them

    def _lookup(self, path: str) -> Tensor:
        values, rows = self._values[path], self._rows[: self._count]
        if values.device == rows.device:
            return values[rows]
        return values[rows.cpu()].to(rows.device, non_blocking=True)

    @torch.no_grad()
    def fill(self) -> None:
        """Compute the rows, in the precision of training and the batch size of scoring. Raises `_NoRoomError`."""
        job, batches = self._job, self.batches.batches
        count, size = len(batches.images), job.trainer.eval_batch_size
        copies = 2 if batches.random_flip else 1
        training, start_time = self._model.training, time.monotonic()
        self._model.eval()
        try:
            for copy in range(copies):
                for start in range(0, count, size):
                    images = batches.images[start : start + size]
                    self._fill(images.flip(-1) if copy else images, copy * count + start, copies * count)
        finally:
            self._model.train(training)
        self.seconds = time.monotonic() - start_time

    def _fill(self, images: Tensor, start: int, rows: int) -> None:
        seen: dict[str, Tensor] = {}
        hooks = []
        if self.part.features:
            head = head_of(self._model)
            hooks.append(head.register_forward_pre_hook(lambda _, inputs: _keep(seen, "", inputs[0], 1)))
        for path in self.part.kept:
            block = self._model.get_submodule(path)
            hooks.append(
                block.register_forward_hook(
                    lambda _, inputs, output, path=path: _keep(seen, path, output, len(self.part.kept))
                )
            )
        try:
            with autocast(self._job.device, self._job.precision):
                self._model(normalize(images, self._job.adapted.mean, self._job.adapted.std))
        except _SeenError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        if not self._values:
            self._values = self._allocate(seen, rows)
        for path, values in seen.items():
            self._values[path][start : start + len(values)] = values

    def _allocate(self, like: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
        """Room for `rows` of tensors like these (B, ...): on the device, else in a file."""
        needed = sum(rows * tensor[0].numel() * tensor.element_size() for tensor in like.values())
        device, budget = self._job.device, self._job.trainer.frozen_cache_gib
        room = free_memory(device) // SHARE if budget is None else int(budget * 2**30)
        if needed <= room:
            return {path: tensor.new_empty(rows, *tensor.shape[1:]) for path, tensor in like.items()}
        folder = self._job.checkpoint.parent
        folder.mkdir(parents=True, exist_ok=True)
        if needed > shutil.disk_usage(folder).free // SHARE:
            raise _NoRoomError(needed, room, folder)
        self._folder = tempfile.TemporaryDirectory(prefix=".frozen-", dir=folder, ignore_cleanup_errors=True)
        return {
            path: _mapped(Path(self._folder.name) / str(number), rows, tensor)
            for number, (path, tensor) in enumerate(like.items())
        }

    def close(self) -> None:
        """Free the memory, and delete the file if there is one."""
        self._values.clear()
        if self._folder is not None:
            self._folder.cleanup()


class _NoRoomError(Exception):
    def __init__(self, needed: int, room: int, folder: Path) -> None:
        gib = 2**30
        super().__init__(
            f"it would take {needed / gib:.1f} GiB, {room / gib:.1f} GiB of memory are allowed "
            f"(trainer.frozen_cache_gib) and the disk of {folder} has too little room"
        )


class CachedBatches:
    """Yields (images, labels, rows) of `batches`, an epoch after the other, for `FrozenCache.select`."""

    batch_sampler = None  # Lightning reads it from a loader that has a sampler

    def __init__(self, batches: DeviceBatches) -> None:
        self.batches = batches

    @property
    def sampler(self) -> DeviceBatches:
        """Lightning calls its `set_epoch`."""
        return self.batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return self.batches.with_rows()


def _keep(seen: dict[str, Tensor], path: str, values: Tensor, wanted: int) -> None:
    seen[path] = values.detach()
    if len(seen) == wanted:
        raise _SeenError


def _mapped(path: Path, rows: int, like: Tensor) -> Tensor:
    """A tensor (rows, ...) of the type of `like` in a new file."""
    shape = (rows, *like.shape[1:])
    values = like[0].numel() * like.element_size() * rows
    memory = np.memmap(path, dtype=np.uint8, mode="w+", shape=(values,))
    return torch.from_numpy(memory).view(like.dtype).view(shape)


@contextmanager
def frozen_cache(job: TrainingJob) -> Iterator[FrozenCache | None]:
    """The filled cache of a job on its device, or None where there is nothing to keep, or it is off.

    Says on stderr why there is none, unless nothing is frozen before what is trained. The logits of the first images
    with and without it are compared before it is used.
    """
    cache, why_not = (None, "") if job.trainer.frozen_cache == "off" else _filled(job)
    if why_not and job.is_main_process:
        print(f"{job.label}: frozen activations are computed in every step: {why_not}", file=sys.stderr, flush=True)
    try:
        yield cache
    finally:
        if cache is not None:
            cache.close()


def _filled(job: TrainingJob) -> tuple[FrozenCache | None, str]:
    """The filled cache, or None and the reason that a user can change, if there is one."""
    if job.recipe.epochs <= (2 if job.batches.random_flip else 1):
        return None, ""  # filling it would cost what it saves
    job.adapted.model.to(job.device)
    images = normalize(next(iter(job.batches))[0][:1], job.adapted.mean, job.adapted.std)
    part = frozen_part(job.adapted.model, images)
    if not part:
        return None, part.why_not
    if not isinstance(job.batches, DeviceBatches):
        return None, "the training images are cropped at random, or too many for the device"
    if job.shard is not None:
        return None, "several processes train one model"
    if job.trainer.compile:
        return None, "trainer.compile=true"
    cache = FrozenCache(job, part)
    try:
        cache.fill()
    except _NoRoomError as error:
        cache.close()
        return None, str(error)
    if (difference := _difference(cache, job)) > TOLERANCE[job.precision]:
        cache.close()
        return None, f"the logits would differ by {difference:.1e} of the largest"
    return cache, ""


@torch.no_grad()
def _difference(cache: FrozenCache, job: TrainingJob) -> float:
    """Largest difference of the logits of the first images with and without the cache, over the largest logit."""
    model, training = job.adapted.model, job.adapted.model.training
    images = normalize(cache.batches.batches.images[:8], job.adapted.mean, job.adapted.std)
    model.eval()
    try:
        with autocast(job.device, job.precision):
            expected = model(images).float()
            cache.select(torch.arange(len(images), device=job.device))
            with cache.replaying():
                got = model(images).float()
    finally:
        model.train(training)
    return float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
