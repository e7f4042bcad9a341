"""Frozen activations on disk, which runs that compute the same ones share: those of one task in a tuning sweep.

    <key>.safetensors    the tensors (rows, ...) by the path of their block, "features" for what the head reads
    <key>.lock           held while they are computed, so that each is computed once

The key is a SHA-256 over all that they are computed from: the frozen weights, the images, their size and their mirrors,
precision, the batch size of the pass, the device, threads, and torch. Two runs with one key would compute the same
bits. A file holds the SHA-256 of its values; one that is damaged, or of something else, is made again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from aoft_bench.backbones.layout import block_paths
from aoft_bench.data.loader import DeviceBatches
from aoft_bench.training.frozen_part import FrozenPart, can_drop
from aoft_bench.training.hardware import describe
from aoft_bench.training.job import TrainingJob
from aoft_bench.utils.errors import UserError, message_of
from aoft_bench.utils.files import write_atomically
from aoft_bench.utils.locks import is_held, preparing

FEATURES = "features"  # safetensors refuses an empty name
FORMAT = 1


class FrozenStore:
    """The file of one key in a folder. limit: bytes that all files of the folder may take."""

    def __init__(self, folder: Path, key: str, limit: int) -> None:
        self._folder, self._key, self._limit = folder, key, limit
        self.path = folder / f"{key}.safetensors"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until no other process computes these activations. Raises `OSError` or `UserError` for a folder that
        cannot be written."""
        with preparing("the same frozen activations", self.path.with_suffix(".lock")):
            yield

    def read(self) -> tuple[dict[str, Tensor], str]:
        """The tensors by path, and why there are none: empty where there is no file yet."""
        if not self.path.is_file():
            return {}, ""
        try:
            with safe_open(self.path, framework="pt") as file:
                meta = file.metadata() or {}
                names = list(file.keys())
                values = {_path(name): file.get_tensor(name) for name in names}
        except (OSError, SafetensorError, ValueError) as error:
            return {}, f"is damaged ({type(error).__name__})"
        if meta.get("key") != self._key:
            return {}, "is of other weights or images"
        if meta.get("sha256") != _digest(values):
            return {}, "is damaged (its checksum does not match)"
        with suppress(OSError):
            os.utime(self.path)  # the longest unused are deleted first
        return values, ""

    def write(self, values: Mapping[str, Tensor]) -> str:
        """Keep the tensors, and delete those of other keys that were not used for longest where the limit asks for it.

        Returns why they are not kept, or an empty text.
        """
        needed = sum(tensor.nbytes for tensor in values.values())
        if needed > self._limit:
            return f"they take {_gib(needed)}, {_gib(self._limit)} are allowed (trainer.frozen_shared_gib)"
        on_cpu = {path: tensor.cpu().contiguous() for path, tensor in values.items()}
        meta = {"key": self._key, "sha256": _digest(on_cpu)}
        try:
            self._make_room(needed)
            if needed > shutil.disk_usage(self._folder).free // 2:
                return f"the disk of {self._folder} has too little room"
            named = {path or FEATURES: tensor for path, tensor in on_cpu.items()}
            write_atomically(self.path, lambda partial: save_file(named, partial, meta))
        except (OSError, UserError) as error:
            return message_of(error)
        return ""

    def _make_room(self, needed: int) -> None:
        others = [path for path in self._folder.glob("*.safetensors") if path != self.path]
        ages = sorted((path.stat().st_mtime, path) for path in others)
        taken = needed + sum(path.stat().st_size for path in others)
        for _, path in ages:
            if taken <= self._limit:
                break
            if not is_held(path.with_suffix(".lock")):
                taken -= path.stat().st_size
                path.unlink()
                path.with_suffix(".lock").unlink(missing_ok=True)


def store_of(job: TrainingJob, part: FrozenPart, folder: Path, scored: Tensor | None = None) -> FrozenStore:
    """The store of what is constant in a job's model, which is on its device. scored: images that are kept too."""
    limit = int(job.trainer.frozen_shared_gib * 2**30)
    return FrozenStore(folder, _key(job, part, scored), limit)


def _key(job: TrainingJob, part: FrozenPart, scored: Tensor | None) -> str:
    """SHA-256 over all that the activations are computed from."""
    assert isinstance(job.batches, DeviceBatches)
    model = job.adapted.model
    images = [job.batches.images, *([] if scored is None else [scored])]
    what = {
        "format": FORMAT,
        "torch": torch.__version__,
        "hardware": describe(job.device),  # the device, its threads
        "precision": job.precision,
        "batch": job.trainer.eval_batch_size,
        "normalization": [job.adapted.mean, job.adapted.std],
        "images": [[list(some.shape) for some in images], job.batches.random_flip],
        "part": [part.features, part.blocks, part.kept],
        "network": [type(model).__name__, getattr(model, "global_pool", None)],
        "modules": list(_modules(model, part)),
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode())
    for some in images:
        digest.update(some.cpu().contiguous().numpy().data)
    inside = [f"{path}." for path, _ in block_paths(model)] if not part.features else []
    constant = tuple(f"{path}." for path in part.blocks)
    parameters = list(model.named_parameters())
    if constant:  # what stands behind them has no part in them
        of_blocks = [number for number, (name, _) in enumerate(parameters) if name.startswith(constant)]
        parameters = parameters[: 1 + max(of_blocks, default=len(parameters))]
    for name, tensor in [*parameters, *model.named_buffers()]:
        left_out = tensor.requires_grad or (name.startswith(tuple(inside)) and not name.startswith(constant))
        if not left_out:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode() + _bytes(tensor))
    return digest.hexdigest()


def _modules(model: nn.Module, part: FrozenPart) -> Iterator[str]:
    """What the modules are that compute the activations: not trained ones, not other blocks or what is behind, not
    dropouts, which act in training only and are without effect in what is constant."""
    found = {path: model.get_submodule(path) for path in part.blocks}
    for name, child in model.named_children():
        inside = {id(module) for module in child.modules()}
        if not part.features and any(id(block) in inside for _, block in block_paths(model)):
            break  # the rest stands behind
        if not any(parameter.requires_grad for parameter in child.parameters()):
            found[name] = child
    for path, module in found.items():
        for name, one in module.named_modules():
            if not isinstance(one, nn.Identity) and not can_drop(one):
                yield f"{path} {name} {type(one).__name__} {one.extra_repr()}"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _digest(values: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for path, tensor in sorted(values.items()):
        digest.update(f"{path} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _path(name: str) -> Any:
    return "" if name == FEATURES else name


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
