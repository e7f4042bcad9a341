"""A checkpoint after each epoch, from which a stopped run goes on, bit for bit as if it had not been stopped.

It holds the trained parameters (never a frozen weight), the optimizer and the schedule, the curves, and the state of
the random generators, which dropout draws from. The order of images follows from seed and epoch. With several processes
rank 0 saves its generators; the others seed theirs with (seed, epoch, rank).

The file is one of torch.save's with a digest of its content behind it, made of SHA-256. What is damaged, of another
cell or of other code is not used.
"""

import hashlib
import io
import pickle
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from torch import Tensor

from aoft_bench.records.code_version import code_digest, version_of
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_atomically

DIGEST_BYTES = hashlib.sha256().digest_size
CHUNK = 2**26  # bytes that one thread hashes at a time: `full` on ViT-B saves 1 GB


class CheckpointFiles(CheckpointIO):
    """How Lightning's trainer writes and reads checkpoints."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getbuffer()
        with ThreadPoolExecutor(1) as pool, open(path, "wb") as file:
            digest = pool.submit(_digest, content)  # while the content is written
            file.write(content)
            file.write(digest.result())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class EpochCheckpoint(pl.callbacks.Checkpoint):
    """Writes `path` atomically at the end of each epoch. Lightning calls a Checkpoint after all other callbacks.

    seed: of the run. seconds: of training, summed over all starts. resumed: how often the run went on.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.seed = path, seed
        self.seconds, self.resumed = 0.0, 0
        self._generators: dict[str, Tensor] | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # not earlier: Lightning draws random numbers before the first epoch too
        if trainer.global_rank > 0:
            seeds = np.random.SeedSequence((self.seed, trainer.current_epoch, trainer.global_rank))
            torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]) >> 1)
        elif self._generators is not None:
            _set_generators(self._generators, module.device)
        self._generators = None

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._add_seconds()
        if trainer.is_global_zero:
            write_atomically(self.path, trainer.save_checkpoint)
        else:
            trainer.save_checkpoint(self.path)  # writes nothing, and waits for rank 0

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._add_seconds()

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["made_by"], checkpoint["cell"] = _versions(), self.path.stem
        checkpoint["generators"] = _generators(module.device)
        checkpoint["seconds"], checkpoint["resumed"] = self.seconds, self.resumed

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._generators = checkpoint["generators"]
        self.seconds, self.resumed = checkpoint["seconds"], checkpoint["resumed"] + 1

    def _add_seconds(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now


def usable_checkpoint(path: Path, label: str, shapes: Mapping[str, torch.Size], *, silent: bool = False) -> Path | None:
    """`path` if training can go on from it, else None. Prints which, unless silent.

    shapes: of what the checkpoint must hold, by the names in its state_dict. A checkpoint of other code or of another
    torch is not used: it would give a number that no version of the code gives.
    """

    def say(text: str) -> None:
        if not silent:
            print(f"aoft_bench: {label}: {text}", file=sys.stderr, flush=True)

    if not path.is_file():
        return None
    try:
        found = read_checkpoint(path)
        if reason := _reason_against(found, path.stem, shapes):
            raise UserError(f"the checkpoint {path} {reason}")
    except UserError as error:
        say(f"starting again, since {error}")
        return None
    say(f"going on after epoch {found['epoch'] + 1}")
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A whole checkpoint on the CPU. Raises `UserError` if its SHA-256 does not fit its content."""
    try:
        with path.open("rb") as file:
            content = file.read(max(0, path.stat().st_size - DIGEST_BYTES))
            digest = file.read()
        if digest != _digest(content):
            raise UserError(f"the checkpoint {path} is damaged: its SHA-256 does not fit its content")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:  # such as the format of another torch
        raise UserError(f"the checkpoint {path} cannot be read ({type(error).__name__})") from None


def trained_state(path: Path) -> dict[str, Tensor]:
    """The trained tensors of a checkpoint, named as in `Handle.state_dict`."""
    return {name.removeprefix("model."): tensor for name, tensor in read_checkpoint(path)["state_dict"].items()}


def _reason_against(found: dict[str, Any], cell: str, shapes: Mapping[str, torch.Size]) -> str:
    """Why training cannot go on from a whole checkpoint, or an empty string."""
    made_by = found.get("made_by") or {}
    if differing := [name for name, version in _versions().items() if made_by.get(name) != version]:
        return f"is of other {' and '.join(differing)}"
    if found["cell"] != cell:
        return f"is of another cell, {found['cell']}"
    if {name: tensor.shape for name, tensor in found["state_dict"].items()} != shapes:
        return "does not hold what this run trains"
    return "" if found["optimizer_states"] else "does not hold the optimizer"


def _digest(content: bytes | memoryview) -> bytes:
    """The SHA-256 of the SHA-256 of each chunk, which threads compute side by side."""
    whole = memoryview(content)
    chunks = [whole[start : start + CHUNK] for start in range(0, len(whole), CHUNK)]
    with ThreadPoolExecutor() as pool:
        return hashlib.sha256(b"".join(pool.map(lambda chunk: hashlib.sha256(chunk).digest(), chunks))).digest()


def _versions() -> dict[str, str]:
    return {
        "code": code_digest(),
        "torch": str(torch.__version__),
        "pytorch-lightning": str(version_of("pytorch-lightning")),
    }


def _generators(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_generators(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
