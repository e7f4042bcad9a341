"""A checkpoint after each epoch, so that a run that was killed goes on bit for bit as if it had not been.

It holds what was trained so far, never a frozen weight; the optimiser and the schedule; the curves; and the state of
the random generators, which dropout draws from. The order of images needs none: it follows from seed and epoch. Of
several processes that train together the first one's is kept; the others draw from (seed, epoch, rank).
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
    """Writes `path` in one step at the end of each epoch. seconds: trained so far, over all starts; resumed: how often
    the run was taken up again; seed: of the run."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.seed = path, seed
        self.seconds, self.resumed = 0.0, 0
        self._generators: dict[str, torch.Tensor] | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # not earlier: what is built anew before the first step draws random numbers too
        if trainer.global_rank > 0:
            torch.manual_seed(_seed_of(self.seed, trainer.current_epoch, trainer.global_rank))
        elif self._generators is not None:
            _set_generators(self._generators, module.device)
        self._generators = None

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Lightning calls this class of callbacks last, after the module has noted the epoch's loss
        self._tick()
        if trainer.is_global_zero:
            write_atomically(self.path, trainer.save_checkpoint)
        else:
            trainer.save_checkpoint(self.path)  # writes nothing here, and waits for the one that does

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._tick()

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["made_by"] = _made_by()
        checkpoint["generators"] = _generators(module.device)
        checkpoint["seconds"], checkpoint["resumed"] = self.seconds, self.resumed

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._generators = checkpoint["generators"]
        self.seconds, self.resumed = checkpoint["seconds"], checkpoint["resumed"] + 1

    def _tick(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now


def usable(path: Path, label: str, *, silent: bool = False) -> Path | None:
    """The checkpoint to go on from, if there is one of this code and this torch; else None, with a line if there was
    another: going on with it would make a number that no version of the code makes. Says what it does unless silent.
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
        why = f"cannot be read ({type(error).__name__})"
    else:
        differing = [name for name, value in _made_by().items() if made_by.get(name) != value]
        if not differing:
            say(f"going on after epoch {epoch + 1}")
            return path
        why = f"is of other {' and '.join(differing)}"
    say(f"starting again, since the checkpoint {path} {why}")
    return None


def _made_by() -> dict[str, str]:
    return {
        "code": code_digest(),
        "torch": str(torch.__version__),
        "pytorch-lightning": str(version_of("pytorch-lightning")),
    }


def _seed_of(seed: int, epoch: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0]) >> 1


def _generators(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_generators(states: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
