"""The LightningModule: training and scoring steps, curves, and what a checkpoint holds."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from aoft_bench.data.transforms import normalize
from aoft_bench.training.cuda_graph import Step
from aoft_bench.training.job import TrainingJob
from aoft_bench.training.optim import adamw, schedule
from aoft_bench.training.shards import IGNORED, shard_loss
from aoft_bench.training.wandb import EpochLogger
from aoft_bench.utils.errors import UserError


class FineTuning(pl.LightningModule):
    """Cross-entropy of the job's model on normalized images.

    Batches are (images (B, C, S, S) uint8 on the device, labels (B,) int64), or those of `ShardedBatches`.
    curves: one value an epoch. step: the loss of a batch; `fit` may replace it by CUDA graphs of the same.
    """

    strict_loading = False  # a checkpoint lacks the frozen weights

    def __init__(self, job: TrainingJob) -> None:
        super().__init__()
        self.job = job
        self.model = job.adapted.model  # an attribute, so that Lightning finds the parameters
        self.criterion = nn.CrossEntropyLoss(label_smoothing=job.recipe.label_smoothing)
        self.curves: dict[str, list[float]] = {"train_loss": []}
        self.step: Step = self.loss
        self._saved = {f"model.{name}" for name in job.adapted.handle.state_dict()}  # not the frozen weights
        self._losses: list[Tensor] = []  # of the batches of this epoch
        self._counts: list[Tensor] = []  # (correct, images) of each scored batch

    def configure_optimizers(self) -> Any:
        optimizer = adamw(self.job.adapted.handle.groups(), self.job.recipe)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = schedule(optimizer, self.job.recipe, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def forward(self, images: Tensor) -> Tensor:
        return self.model(normalize(images, self.job.adapted.mean, self.job.adapted.std))  # type: ignore[no-any-return]

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch."""
        return self.criterion(self(images).float(), labels)  # type: ignore[no-any-return]

    def on_train_start(self) -> None:
        if isinstance(self.logger, EpochLogger):
            self.logger.replay(self.curves)  # the epochs before a stop

    def training_step(self, batch: tuple[Any, ...], index: int) -> Tensor:
        images, labels, *batch_size = batch
        if batch_size:
            logits, smoothing = self(images).float(), self.job.recipe.label_smoothing
            loss = shard_loss(logits, labels, batch_size[0], self.trainer.world_size, smoothing)
        else:
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
        loss = self.epoch_loss()
        self._losses.clear()
        if not math.isfinite(loss):
            raise UserError(
                f"the training loss is {loss} in epoch {self.current_epoch + 1}: recipe.lr={self.job.recipe.lr} is too "
                "high for this method, or an image is broken; try a tenth of it. No record was written"
            )
        self.curves["train_loss"].append(round(loss, 6))
        self.log("train/loss", loss)

    def validation_step(self, batch: tuple[Any, ...], index: int) -> None:
        images, labels, *_ = batch
        correct = (self(images).argmax(dim=1) == labels).sum()
        self._counts.append(torch.stack([correct, (labels != IGNORED).sum()]))

    def on_validation_epoch_end(self) -> None:
        counts = torch.stack(self._counts).sum(0)  # over images, as VTAB's accuracy is, not over classes
        self._counts.clear()
        if self.trainer.world_size > 1:
            counts = self.trainer.strategy.reduce(counts, reduce_op="sum")
        correct, images = counts.tolist()
        accuracy = 100 * correct / images
        self.curves.setdefault(f"{self.job.scored}_top1", []).append(round(accuracy, 4))
        self.log(f"{self.job.scored}/top1", accuracy)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in self._saved}
        checkpoint["curves"] = self.curves

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.curves = checkpoint["curves"]
