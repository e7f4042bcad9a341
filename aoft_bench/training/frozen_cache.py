"""What is frozen is computed once: the activations that `frozen_part` finds are kept and looked up.

The training images are the same in every epoch. A block that stands before the first trained parameter gives the same
tokens for an image each time, so its tokens are computed once for each image (and, with flips, for its mirror image)
and looked up in every step. Where nothing before the head is trained, the features that the head reads are kept. The
blocks beside which a side network runs are frozen as a whole, so the tokens of all of them are kept. Where val200 is
scored after each epoch, its images are kept too. Test images never are.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aoft_bench.data.loader import DeviceBatches
from aoft_bench.data.transforms import normalize
from aoft_bench.training.frozen_batches import CachedBatches
from aoft_bench.training.frozen_part import FrozenPart, head_of
from aoft_bench.training.frozen_store import FrozenStore
from aoft_bench.training.hardware import autocast, free_memory
from aoft_bench.training.job import TrainingJob
from aoft_bench.training.progress import image_progress

SHARE = 4  # of the free memory, the part that the cache may take is 1 / SHARE; on the disk too
TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2}  # of what is kept and what is computed, relative to the largest value
CHECKED = 8  # images that both are compared for


class _SeenError(Exception):
    """All that is kept has been seen; the rest of the forward pass is not needed."""


class FrozenCache:
    """The constant activations of the images of a job, and the batches that look them up.

    Rows are those of `DeviceBatches.with_rows`: training images, then their mirror images; behind them the images that
    are scored after each epoch. While `replaying`, the model reads the rows that `select` chose last, in place of
    computing them. Tensors lie on the device, or in a file that is mapped into memory.

    batches: of the training images. scored: of those that are scored after each epoch, None for no or other batches.
    """

    def __init__(self, job: TrainingJob, part: FrozenPart) -> None:
        assert isinstance(job.batches, DeviceBatches)
        self._job, self.part = job, part
        self.batches = CachedBatches(job.batches)
        self.scored = self._scored()
        self._model: Any = job.adapted.model
        self._values: dict[str, Tensor] = {}  # by path of the block; "" for features. (rows, ...)
        # one memory for all steps, since a CUDA graph reads from where it read when it was captured
        size = max(job.batches.batch_size, self.scored.batches.batch_size if self.scored else 0)
        self._rows = torch.zeros(size, dtype=torch.int64, device=job.device)
        self._count = 0
        self.seconds = 0.0  # that filling took
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._no_patches: Tensor | None = None  # (1, ...) NaN in place of patch embeddings, if nothing reads these

    def _scored(self) -> CachedBatches | None:
        batches = self._job.score_batches
        if batches is None or self._job.scored == "test":
            return None
        images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        trained = self._copies * len(self.batches.batches.images)
        return CachedBatches(DeviceBatches(images, labels, batches.batch_size), trained)

    @property
    def in_file(self) -> bool:
        """Whether the tensors are in a mapped file, since they are too large for the memory."""
        return self._folder is not None

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
            if self._no_patches is not None:
                nothing, embed = self._no_patches, self._model.patch_embed
                embed.forward = lambda images: nothing.expand(len(images), *nothing.shape[1:])
                replaced.append(embed)
            yield
        finally:
            for module in replaced:
                del module.forward

    def _replay(self, path: str) -> Any:
        def replay(tokens: Tensor, **options: Any) -> Tensor:
            assert len(tokens) == self._count, "the model is called with other images than those of the batch"
            return self._lookup(path) if path in self._values else tokens  # which the next block ignores

        return replay

    def _lookup(self, path: str) -> Tensor:
        values, rows = self._values[path], self._rows[: self._count]
        if values.device == rows.device:
            return values[rows]
        return values[rows.cpu()].to(rows.device, non_blocking=True)

    @torch.no_grad()
    def fill(self) -> None:
        """Compute the rows, in the precision of training and the batch size of scoring. Raises `NoRoomError`."""
        job, parts = self._job, self._parts()
        size, rows = job.trainer.eval_batch_size, sum(len(images) for _, images in parts)
        self._values.clear()
        with image_progress(job.trainer.progress, f"{job.label}: frozen activations", rows) as advance:
            for first, part in parts:
                for start in range(0, len(part), size):
                    seen = self._seen(part[start : start + size])
                    self._values = self._values or self._allocate(seen, rows)
                    for path, values in seen.items():
                        self._values[path][first + start : first + start + len(values)] = values
                    advance(min(size, len(part) - start))

    def _parts(self, most: int | None = None) -> list[tuple[int, Tensor]]:
        """All images, or the first `most` of each part, with the row of the first one."""
        images = self.batches.batches.images
        parts = [
            (copy * len(images), images[:most].flip(-1) if copy else images[:most]) for copy in range(self._copies)
        ]
        if self.scored is not None:
            parts.append((self.scored.first, self.scored.batches.images[:most]))
        return parts

    @property
    def _copies(self) -> int:
        """Of each training image: itself, and its mirror image."""
        return 2 if self.batches.batches.random_flip else 1

    def fill_from(self, store: FrozenStore) -> str:
        """`read` from a store, else `fill` and `write` to it. Returns what a user should know, or an empty text."""
        with store.locked():
            values, problem = store.read()
            if values:
                fits = sum(tensor.nbytes for tensor in values.values()) <= self._room()
                # else they stay where they were read, in a file that is mapped into memory
                self._values = {path: t.to(self._job.device) if fits else t for path, t in values.items()}
                if self._difference_of_kept() <= TOLERANCE[self._job.precision]:
                    return ""
                problem = "holds other activations than this network computes"
            self.fill()
            if self.in_file:
                return "frozen activations are not shared: they do not fit into the memory"
            not_kept = store.write(self._values)
        if not_kept:
            return f"frozen activations are not shared: {not_kept}"
        return f"{store.path} {problem}; it was made again" if problem else ""

    @torch.no_grad()
    def difference(self) -> float:
        """Largest difference, over the largest value, of what is kept of the first images and of what the head reads,
        with and without it. The logits say nothing before training, when the head is zero."""
        images = self.batches.batches.images[: min(CHECKED, len(self._rows))]
        self.select(torch.arange(len(images), device=self._job.device))
        expected = self._head_inputs(images)
        with self.replaying():
            got = self._head_inputs(images)
        return max(self._difference_of_kept(), _apart(got, expected))

    @torch.no_grad()
    def leave_out_patches(self) -> None:
        """Compute no patch embeddings while replaying, if nothing reads them: if what the head reads stays the same
        where they are NaN, which even a weight of zero would pass on. A side network may read them."""
        embed = getattr(self._model, "patch_embed", None)
        if self.part.features or embed is None:
            return
        images = self.batches.batches.images[: min(CHECKED, len(self._rows))]
        self.select(torch.arange(len(images), device=self._job.device))
        seen: list[Tensor] = []
        with self.replaying():
            with embed.register_forward_hook(lambda _, inputs, output: seen.append(output)):
                expected = self._head_inputs(images)
            self._no_patches = torch.full_like(seen[0][:1], torch.nan)
        with self.replaying():
            if not torch.equal(self._head_inputs(images), expected):
                self._no_patches = None

    @torch.no_grad()
    def _difference_of_kept(self) -> float:
        found = [0.0]
        for first, images in self._parts(CHECKED):
            seen = self._seen(images)
            if seen.keys() != self._values.keys():
                return float("inf")
            rows = slice(first, first + len(images))
            found += [_apart(self._values[path][rows].to(values.device), values) for path, values in seen.items()]
        return max(found)

    def _head_inputs(self, images: Tensor) -> Tensor:
        seen: dict[str, Tensor] = {}
        head = head_of(self._model)
        with head.register_forward_pre_hook(lambda _, inputs: seen.update({"": inputs[0].detach()})):
            self._run(images)
        return seen[""]

    def _run(self, images: Tensor) -> None:
        """A forward pass in evaluation mode, in the precision of training."""
        training = self._model.training
        self._model.eval()
        try:
            with autocast(self._job.device, self._job.precision):
                self._model(normalize(images, self._job.adapted.mean, self._job.adapted.std))
        finally:
            self._model.train(training)

    def _seen(self, images: Tensor) -> dict[str, Tensor]:
        """What is constant for these images, computed."""
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
            self._run(images)
        except _SeenError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    def _allocate(self, like: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
        """Room for `rows` of tensors like these (B, ...): on the device, else in a file."""
        needed = sum(rows * tensor[0].numel() * tensor.element_size() for tensor in like.values())
        room = self._room()
        if needed <= room:
            return {path: tensor.new_empty(rows, *tensor.shape[1:]) for path, tensor in like.items()}
        folder = self._job.checkpoint.parent
        folder.mkdir(parents=True, exist_ok=True)
        if needed > shutil.disk_usage(folder).free // SHARE:
            raise NoRoomError(needed, room, folder)
        self._folder = tempfile.TemporaryDirectory(prefix=".frozen-", dir=folder, ignore_cleanup_errors=True)
        return {
            path: _mapped(Path(self._folder.name) / str(number), rows, tensor)
            for number, (path, tensor) in enumerate(like.items())
        }

    def _room(self) -> int:
        """Bytes of memory that may be taken."""
        budget = self._job.trainer.frozen_cache_gib
        return free_memory(self._job.device) // SHARE if budget is None else int(budget * 2**30)

    def close(self) -> None:
        """Free the memory, and delete the file if there is one."""
        self._values.clear()
        if self._folder is not None:
            self._folder.cleanup()


class NoRoomError(Exception):
    def __init__(self, needed: int, room: int, folder: Path) -> None:
        gib = 2**30
        super().__init__(
            f"it would take {needed / gib:.1f} GiB, {room / gib:.1f} GiB of memory are allowed "
            f"(trainer.frozen_cache_gib) and the disk of {folder} has too little room"
        )


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


def _apart(one: Tensor, other: Tensor) -> float:
    """Largest difference over the largest value; infinite for other shapes."""
    if one.shape != other.shape:
        return float("inf")
    one, other = one.float(), other.float()
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-12))
