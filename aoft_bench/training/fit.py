"""Train a model with Lightning, or go on from the checkpoint of a run that was stopped."""

import gc
import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from aoft_bench.backbones.layout import block_paths
from aoft_bench.training.checkpoint import CheckpointFiles, EpochCheckpoint, usable_checkpoint
from aoft_bench.training.cuda_graph import CudaGraphStep
from aoft_bench.training.frozen_fill import frozen_cache
from aoft_bench.training.hardware import deterministic
from aoft_bench.training.job import TrainingJob, TrainingResult
from aoft_bench.training.module import FineTuning
from aoft_bench.training.progress import RunProgress
from aoft_bench.training.shards import Shard, ShardedBatches


def fit(job: TrainingJob) -> TrainingResult:
    """Train the job's model in place for `recipe.epochs` epochs, or until `job.until`, and leave it on `job.device`.

    Where `job.checkpoint` exists already, training goes on from it, to the same weights, bit for bit, as without a stop
    (on CUDA with trainer.deterministic, without trainer.compile). Raises `UserError` when the loss is no longer finite,
    or an operation is not deterministic.
    """
    module = FineTuning(job)
    checkpoint = EpochCheckpoint(job.checkpoint, job.batches.seed)
    images = len(job.batches.images)
    progress, silent = job.trainer.progress if job.is_main_process else "none", not job.is_main_process
    callbacks = [RunProgress(progress, job.label, images, job.recipe.epochs), checkpoint]
    callbacks += [] if job.until is None else [StopAfter(job.until)]
    with (
        _quiet_lightning(),
        compiled_blocks(job.adapted.model, job.trainer.compile),
        _cuda_graphs(module),
        deterministic(job.label),
        _interruptible(),
        frozen_cache(job) as cache,
    ):
        module.cache = cache
        _trainer(job, callbacks).fit(
            module,
            train_dataloaders=cache.batches if cache else _sharded(job.batches, job.shard),
            val_dataloaders=cache.scored if cache and cache.scored else _sharded(job.score_batches, job.shard),
            ckpt_path=usable_checkpoint(job.checkpoint, job.label, module.saved, silent=silent),
            weights_only=True,
        )
    job.adapted.model.to(job.device)
    seconds = checkpoint.seconds + (module.cache.seconds if module.cache else 0.0)
    epochs = len(module.curves["train_loss"])
    return TrainingResult(module.curves, seconds, images * epochs / seconds, checkpoint.resumed)


class StopAfter(pl.Callback):
    """Ends training after so many epochs. The rates stay those of a run of all epochs, which `max_epochs` counts."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch >= self.epochs  # of a checkpoint that got so far

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def _trainer(job: TrainingJob, callbacks: list[pl.Callback]) -> pl.Trainer:
    on_gpu = job.device.type == "cuda"
    return pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        precision="bf16-mixed" if job.precision == "bf16" else "32-true",
        max_epochs=job.recipe.epochs,
        # CPU kernels are deterministic anyway. Not "warn": attention takes its deterministic backward pass only where
        # torch refuses the others
        deterministic=job.trainer.deterministic if on_gpu else None,
        callbacks=callbacks,
        logger=job.logger or False,
        log_every_n_steps=1,  # the default, 50, warns where an epoch has fewer steps
        num_sanity_val_steps=0,  # the images that are scored are read after an epoch only
        enable_progress_bar=False,  # RunProgress instead
        enable_model_summary=False,
        # the default would take over a Slurm job: its processes, its signals, its requeueing
        plugins=[LightningEnvironment(), CheckpointFiles()],
        **_processes(job.shard),
    )


def _processes(shard: Shard | None) -> dict[str, Any]:
    """Options for the processes of a run, which exist already (see `experiments.ddp`)."""
    if shard is None:
        return {"devices": 1}
    return {
        "devices": shard.world_size,
        # a parameter without a gradient stays without one, as in one process; no network has running statistics
        "strategy": DDPStrategy(find_unused_parameters=True, broadcast_buffers=False),
        "use_distributed_sampler": False,  # ShardedBatches cuts each batch
    }


def _sharded(batches: Any, shard: Shard | None) -> Any:
    return ShardedBatches(batches, shard) if batches is not None and shard is not None else batches


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out Lightning's messages on devices and its advice on worker processes, of which there are none."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|lightning_utilities")
        yield


@contextmanager
def compiled_blocks(model: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Run every block compiled inside this context, and eagerly again after it.

    All blocks have one shape, so one compilation serves them. What surrounds attention and the matrix products (layer
    norms, casts, additions) is fused, which saves passes over the activations. The first step takes seconds longer.
    """
    if not enabled:
        yield
        return
    blocks = [block for _, block in block_paths(model)]
    for block in blocks:
        block.compile(dynamic=False)
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None
        torch._dynamo.reset()


@contextmanager
def _cuda_graphs(module: FineTuning) -> Iterator[None]:
    """Run the training step as CUDA graphs, where that is asked for and possible."""
    job = module.job
    on_gpu = job.device.type == "cuda"
    if on_gpu and job.trainer.cuda_graphs and job.shard is None:
        module.step = CudaGraphStep(module.loss, job.adapted.model, job.precision)
    try:
        yield
    finally:
        module.step = module.loss
        if on_gpu:
            gc.collect()  # a graph, and the memory of its activations, is in a reference cycle


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C. Lightning exits silently instead, and leaves the signal ignored."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
        raise
