"""A checkpoint after each epoch, from which a stopped run goes on, bit for bit as if it had not been stopped.

It holds the trained parameters (never a frozen weight), the optimizer and the schedule, the curves, and the state of
the random generators, which dropout draws from. The order of images follows from seed and epoch. With several processes
rank 0 saves its generators; the others seed theirs with (seed, epoch, rank).
"""

import pickle
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from aoft_bench.records.code_version import code_digest, version_of
from aoft_bench.utils.files import write_atomically


class EpochCheckpoint(pl.callbacks.Checkpoint):
    """Writes `path` atomically at the end of each epoch. Lightning calls a Checkpoint after all other callbacks.

    seed: of the run. seconds: of training, summed over all starts. resumed: how often the run went on.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.seed = path, seed
        self.seconds, self.resumed = 0.0, 0
        self._generators: dict[str, torch.Tensor] | None = None

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
        checkpoint["made_by"] = _versions()
        checkpoint["generators"] = _generators(module.device)
        checkpoint["seconds"], checkpoint["resumed"] = self.seconds, self.resumed

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._generators = checkpoint["generators"]
        self.seconds, self.resumed = checkpoint["seconds"], checkpoint["resumed"] + 1

    def _add_seconds(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now


def usable_checkpoint(path: Path, label: str, *, silent: bool = False) -> Path | None:
    """`path` if training can go on from it, else None. Prints which, unless silent.

    A checkpoint of other code or of another torch is not used: it would give a number that no version of the code
    gives.
    """

    def say(text: str) -> None:
        if not silent:
            print(f"aoft_bench: {label}: {text}", file=sys.stderr, flush=True)

    if not path.is_file():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        epoch, made_by = found["epoch"], found["made_by"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        reason = f"cannot be read ({type(error).__name__})"
    else:
        differing = [name for name, version in _versions().items() if made_by.get(name) != version]
        if not differing:
            say(f"going on after epoch {epoch + 1}")
            return path
        reason = f"is of other {' and '.join(differing)}"
    say(f"starting again, since the checkpoint {path} {reason}")
    return None


def trained_state(path: Path) -> dict[str, torch.Tensor]:
    """The trained tensors of a checkpoint, named as in `Handle.state_dict`."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return {name.removeprefix("model."): tensor for name, tensor in checkpoint["state_dict"].items()}


def _versions() -> dict[str, str]:
    return {
        "code": code_digest(),
        "torch": str(torch.__version__),
        "pytorch-lightning": str(version_of("pytorch-lightning")),
    }


def _generators(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_generators(states: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
