"""One training run with Lightning, taken up where it stopped: no worker processes, no test numbers."""

import gc
import logging
import signal
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy

from aoft_bench.config.schema import RecipeOptions, TrainerOptions
from aoft_bench.data.crops import CroppedBatches
from aoft_bench.data.loader import DeviceBatches
from aoft_bench.methods import Handle
from aoft_bench.training.checkpoint import EpochCheckpoint, usable
from aoft_bench.training.compile import compile_blocks
from aoft_bench.training.cuda_graph import NOT_DETERMINISTIC, GraphedStep
from aoft_bench.training.module import FineTuning
from aoft_bench.training.progress import RunProgress
from aoft_bench.training.shards import Share, Shares
from aoft_bench.utils.errors import UserError


@dataclass(frozen=True)
class Fit:
    """What a training run leaves beside the weights. curves: one value an epoch; seconds: of training alone, over all
    starts; resumed: how often it was taken up again after it had been stopped; processes: how many trained together;
    peak_memory_bytes: of that with the most, where they are not this one."""

    curves: dict[str, list[float]]
    seconds: float
    images_per_second: float
    resumed: int
    processes: int = 1
    peak_memory_bytes: int = 0


def fit(
    handle: Handle,
    batches: DeviceBatches | CroppedBatches,
    recipe: RecipeOptions,
    trainer: TrainerOptions,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    precision: str,
    label: str,
    scored: str,
    checkpoint: Path,
    score_batches: Any = None,
    logger: Any = None,
    share: Share | None = None,
) -> Fit:
    """Train an adapted model in place for `recipe.epochs` and leave it on `device`.

    checkpoint: written after each epoch; where it is there already, training goes on from it, to the same weights, bit
    for bit, as without a stop (on CUDA with trainer.deterministic, without trainer.compile). score_batches: what is
    scored after each epoch, or None (always under `clean`). share: that of this process in every batch, where several
    train together (see `processes`). Raises `UserError` when the loss is no longer finite, or the disk is full.
    """
    model = handle.model
    module = FineTuning(
        model,
        handle.groups(),
        recipe,
        mean=mean,
        std=std,
        scored=scored,
        saved=set(handle.state_dict()),
    )
    if trainer.compile:
        compile_blocks(model, True)
    if device.type == "cuda" and trainer.cuda_graphs and share is None:
        module.step = GraphedStep(module.loss, model, precision)
    keeper = EpochCheckpoint(checkpoint, batches.seed)
    images = len(batches.images)
    first = share is None or share.rank == 0
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # devices seen, tips, its own progress
    with warnings.catch_warnings():
        # Lightning's own use of a deprecated tree-spec class, and its advice on workers, which there are none of
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|lightning_utilities")
        # what `deterministic` does besides: it fills every new tensor, which costs a pass over its memory
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        loop = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            **_placed(share),
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            max_epochs=recipe.epochs,
            logger=logger or False,
            callbacks=[RunProgress(trainer.progress if first else "none", label, images, recipe.epochs), keeper],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            # CPU kernels are deterministic already. Not "warn": attention takes a deterministic backward pass only
            # where the others are refused
            deterministic=trainer.deterministic if device.type == "cuda" else None,
            log_every_n_steps=1,
        )
        try:
            loop.fit(
                module,
                train_dataloaders=Shares(batches, share) if share else batches,
                val_dataloaders=Shares(score_batches, share) if share and score_batches else score_batches,
                ckpt_path=usable(checkpoint, label, silent=not first),
                weights_only=True,
            )
        except RuntimeError as error:
            if NOT_DETERMINISTIC not in str(error):
                raise
            what = str(error).partition(NOT_DETERMINISTIC)[0].strip()
            raise UserError(
                f"{label}: {what} is not deterministic on this GPU, so a run that is stopped could not go on bit for "
                "bit; allow it by trainer.deterministic=false"
            ) from None
        except SystemExit as error:
            # Lightning answers Ctrl-C with a silent exit and leaves the key switched off
            if isinstance(error.__context__, KeyboardInterrupt):
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt from None
            raise
        finally:
            module.step = module.loss
            if device.type == "cuda":
                gc.collect()  # a graph, and the memory of its activations, is in a reference cycle
            if trainer.compile:
                compile_blocks(model, False)
    model.to(device)
    return Fit(module.curves, keeper.seconds, images * recipe.epochs / keeper.seconds, keeper.resumed)


def _placed(share: Share | None) -> dict[str, Any]:
    """What Lightning is told of the processes, which are there already."""
    # else it takes a Slurm job for its own: its processes, its signals, its requeueing
    plugins = [LightningEnvironment()]
    if share is None:
        return {"devices": 1, "plugins": plugins}
    return {
        "devices": share.count,
        # a parameter without a gradient stays without one, as in one process; no network here has running statistics
        "strategy": DDPStrategy(find_unused_parameters=True, broadcast_buffers=False),
        "plugins": plugins,
        "use_distributed_sampler": False,
    }
