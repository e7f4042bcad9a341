"""The LightningModule: training and scoring steps, curves, and what a checkpoint holds."""

import math
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from aoft_bench.backbones.finite import not_finite
from aoft_bench.data.transforms import normalize
from aoft_bench.methods.base import Objective
from aoft_bench.training.cuda_graph import Step
from aoft_bench.training.frozen_cache import FrozenCache
from aoft_bench.training.job import TrainingJob
from aoft_bench.training.optim import adamw, learning_rate, schedule
from aoft_bench.training.score import counts_of, diverged
from aoft_bench.training.shards import ShardObjective
from aoft_bench.training.wandb import EpochLogger
from aoft_bench.utils.errors import UserError


class FineTuning(pl.LightningModule):
    """The loss of the job's method on normalized images.

    Batches are (images (B, C, S, S) uint8 on the device, labels (B,) int64), or those of `ShardedBatches` or, with
    `cache`, `CachedBatches`. curves: one value an epoch. step: the loss of a batch; `fit` may replace it by CUDA graphs
    of the same. cache: what is frozen, computed before, if it is kept.
    """

    strict_loading = False  # a checkpoint lacks the frozen weights

    def __init__(self, job: TrainingJob) -> None:
        super().__init__()
        self.job = job
        self.model = job.adapted.model  # an attribute, so that Lightning finds the parameters
        job.adapted.handle.objective = Objective(job.recipe.label_smoothing)
        self.curves: dict[str, list[float]] = {"train_loss": []}
        self.step: Step = self.loss
        self.cache: FrozenCache | None = None
        # names and shapes of what a checkpoint holds of the model: not the frozen weights
        self.saved = {f"model.{name}": tensor.shape for name, tensor in job.adapted.handle.state_dict().items()}
        self._losses: list[Tensor] = []  # of the batches of this epoch
        self._counts: list[Tensor] = []  # `counts_of` each scored batch

    def configure_optimizers(self) -> Any:
        recipe = self.job.recipe
        optimizer = adamw(self.job.adapted.handle.groups(recipe.decay_head_bias), recipe)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = schedule(optimizer, recipe, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _normalized(self, images: Tensor) -> Tensor:
        return normalize(images, self.job.adapted.mean, self.job.adapted.std)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(self._normalized(images))  # type: ignore[no-any-return]

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The method's loss of a batch; by default the mean cross-entropy."""
        return self.job.adapted.handle.loss(self._read(images), labels)

    def _read(self, images: Tensor) -> Tensor:
        """The images as the model reads them; as they are where the features are looked up instead."""
        unread = self.cache is not None and self.cache.part.features
        return images if unread else self._normalized(images)

    def on_train_start(self) -> None:
        if isinstance(self.logger, EpochLogger):
            done = len(self.curves["train_loss"])  # the epochs before a stop
            self.logger.replay({**self.curves, "train_lr": [self._last_rate(epoch) for epoch in range(1, done + 1)]})

    def training_step(self, batch: tuple[Any, ...], index: int) -> Tensor:
        images, labels, *more = batch
        if self.cache is not None:
            self.cache.select(*more)
            with self.cache.replaying():
                loss = self.step(images, labels)
        else:
            if more:
                smoothing = self.job.recipe.label_smoothing
                self.job.adapted.handle.objective = ShardObjective(more[0], self.trainer.world_size, smoothing)
            loss = self.step(images, labels)
        self._losses.append(loss.detach())
        return loss

    def epoch_loss(self) -> float:
        """Mean training loss of the batches of this epoch so far. With several processes all must call it."""
        if not self._losses:
            return math.nan
        loss = torch.stack(self._losses).mean()
        if self.trainer.world_size > 1:
            loss = self.trainer.strategy.reduce(loss, reduce_op="mean")  # type: ignore[assignment]
        return float(loss)

    def on_train_epoch_end(self) -> None:
        """Add the loss to the curves. Raises `UserError` if it is not finite, or if the last step left NaN or infinite
        values, which no later loss would show."""
        loss, epoch = self.epoch_loss(), self.current_epoch + 1
        if not math.isfinite(loss):
            if epoch == 1 and not self._losses[0].isfinite():
                raise UserError(
                    f"the training loss is {float(self._losses[0])} before the first step: the backbone's weights, "
                    "data.normalization or an option of the method makes values too large. No record was written"
                )
            raise diverged(f"the training loss is {loss} in epoch {epoch}", self.job.recipe)
        self._losses.clear()
        if broken := not_finite(self._changed()):
            what = f"{len(broken)} trained tensors hold NaN or infinite values, the first is {broken[0]!r}"
            raise diverged(f"after epoch {epoch}, {what}", self.job.recipe)
        self.curves["train_loss"].append(round(loss, 6))
        self.log("train/loss", loss)
        self.log("train/lr", self._last_rate(epoch))

    def _last_rate(self, epoch: int) -> float:
        """The learning rate of the last step of an epoch, which counts from 1."""
        recipe, steps = self.job.recipe, int(self.trainer.estimated_stepping_batches)
        return learning_rate(recipe, epoch * steps // recipe.epochs - 1, steps)

    def _changed(self) -> Iterator[tuple[str, Tensor]]:
        """What a step changes: the trained tensors, and the squares of gradients that Adam keeps of them, which stop a
        parameter once they are infinite."""
        state: Any = self.trainer.optimizers[0].state
        for name, parameter in self.job.adapted.handle.trained():
            yield name, parameter
            if parameter in state:
                yield f"{name} (of Adam)", state[parameter]["exp_avg_sq"]

    def validation_step(self, batch: tuple[Any, ...], index: int) -> None:
        images, labels, *more = batch
        if self.cache is not None and self.cache.scored is not None:
            self.cache.select(*more)
            with self.cache.replaying():
                logits = self.model(self._read(images))
        else:
            logits = self(images)
        self._counts.append(counts_of(logits, labels))

    def on_validation_epoch_end(self) -> None:
        counts = torch.stack(self._counts).sum(0)  # over images, as VTAB's accuracy is, not over classes
        self._counts.clear()
        if self.trainer.world_size > 1:
            counts = self.trainer.strategy.reduce(counts, reduce_op="sum")
        correct, images, broken = counts.tolist()
        if broken:
            what = f"the logits of {broken:,} of {images:,} {self.job.scored} images"
            raise diverged(f"{what} are not finite after epoch {self.current_epoch + 1}", self.job.recipe)
        accuracy = 100 * correct / images
        self.curves.setdefault(f"{self.job.scored}_top1", []).append(round(accuracy, 4))
        self.log(f"{self.job.scored}/top1", accuracy)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in self.saved}
        checkpoint["curves"] = self.curves

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.curves = checkpoint["curves"]
