"""The LightningModule: cross-entropy on normalised images, AdamW, warm-up and cosine."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from aoft_bench.config.schema import RecipeOptions
from aoft_bench.data.transforms import normalize
from aoft_bench.training.cuda_graph import Step
from aoft_bench.training.shards import NOBODY
from aoft_bench.training.wandb import EpochLogger
from aoft_bench.utils.errors import UserError


class FineTuning(pl.LightningModule):
    """Trains `groups` of the parameters of `model`: (lr, weight decay) as multiples of the recipe's -> parameters.

    Batches are (images (B, C, S, S) uint8 on the device, labels (B,) int64), or what `Shares` makes of them. mean, std:
    normalisation of [0, 1] values; scored: name of the split that validation scores
    ("val200" or "test"); saved: names of the tensors of `model` that a checkpoint holds, the others being frozen.
    """

    strict_loading = False  # a checkpoint lacks the frozen weights

    def __init__(
        self,
        model: nn.Module,
        groups: dict[tuple[float, float], list[nn.Parameter]],
        recipe: RecipeOptions,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        scored: str,
        saved: set[str],
    ) -> None:
        super().__init__()
        self.model, self.groups, self.recipe, self.scored = model, groups, recipe, scored
        self._saved = {f"model.{name}" for name in saved}
        self.mean, self.std = mean, std
        self.criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self._scored: list[Tensor] = []  # (right, images) of each batch
        self.curves: dict[str, list[float]] = {"train_loss": []}
        self._losses: list[Tensor] = []
        self.step: Step = self.loss  # or the same as CUDA graphs

    def forward(self, images: Tensor) -> Tensor:
        return self.model(normalize(images, self.mean, self.std))  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Any, ...], index: int) -> Tensor:
        images, labels, *whole = batch
        if whole:
            logits = self(images).float()
            loss = share_of_loss(logits, labels, whole[0], self.trainer.world_size, self.recipe.label_smoothing)
        else:
            loss = self.step(images, labels)
        self._losses.append(loss.detach())
        return loss

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch."""
        return self.criterion(self(images).float(), labels)  # type: ignore[no-any-return]

    def epoch_loss(self) -> float:
        """Mean training loss over the batches of the epoch so far; where processes share them, all must ask."""
        if not self._losses:
            return math.nan
        loss = torch.stack(self._losses).mean()
        return (
            float(self.trainer.strategy.reduce(loss, reduce_op="mean")) if self.trainer.world_size > 1 else loss.item()
        )

    def on_train_start(self) -> None:
        if isinstance(self.logger, EpochLogger):
            self.logger.replay(self.curves)  # of the epochs before a stop

    def on_train_epoch_end(self) -> None:
        loss = self.epoch_loss()
        self._losses.clear()
        if not math.isfinite(loss):
            raise UserError(
                f"the training loss is {loss} in epoch {self.current_epoch + 1}: recipe.lr={self.recipe.lr} is too "
                "high for this method, or an image is broken; try a tenth of it. No record was written"
            )
        self.curves["train_loss"].append(round(loss, 6))
        self.log("train/loss", loss)

    def validation_step(self, batch: tuple[Any, ...], index: int) -> None:
        images, labels, *_ = batch
        right = (self(images).argmax(dim=1) == labels).sum()
        self._scored.append(torch.stack([right, (labels != NOBODY).sum()]))

    def on_validation_epoch_end(self) -> None:
        counts = torch.stack(self._scored).sum(0)  # over images, as VTAB's accuracy is, not over classes
        self._scored.clear()
        if self.trainer.world_size > 1:
            counts = self.trainer.strategy.reduce(counts, reduce_op="sum")
        right, images = counts.tolist()
        accuracy = 100 * right / images
        self.curves.setdefault(f"{self.scored}_top1", []).append(round(accuracy, 4))
        self.log(f"{self.scored}/top1", accuracy)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in self._saved}
        checkpoint["curves"] = self.curves

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.curves = checkpoint["curves"]

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        groups = [
            {"params": parameters, "lr": recipe.lr * lr, "weight_decay": recipe.weight_decay * decay}
            for (lr, decay), parameters in self.groups.items()
        ]
        # one pass over each tensor, on a CPU too, where torch's default makes ten
        optimizer = torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(recipe, step, steps) / recipe.lr)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def share_of_loss(logits: Tensor, labels: Tensor, whole: int, processes: int, smoothing: float) -> Tensor:
    """What a process that has a share of a batch of `whole` images minimises: sum of its losses * processes / whole.

    The mean over the processes, which is taken of gradients, is then the mean over the whole batch, however it is cut.
    """
    total = nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing, ignore_index=NOBODY, reduction="sum")
    return total * processes / whole


def rate(recipe: RecipeOptions, step: int, steps: int) -> float:
    """Learning rate of a step, 0 <= step < steps: a line from warmup_lr to lr, then half a cosine to min_lr."""
    warmup = steps * recipe.warmup // recipe.epochs
    if step < warmup:
        return recipe.warmup_lr + (recipe.lr - recipe.warmup_lr) * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def regularize(model: nn.Module, recipe: RecipeOptions) -> None:
    """Apply the recipe's dropouts to a timm model built with its `drop_path` rate, in place."""
    for module in model.modules():
        child: Any
        for name, child in list(module.named_children()):
            if recipe.drop_path_kind == "element" and type(child).__name__ == "DropPath":
                setattr(module, name, nn.Dropout(child.drop_prob))
        if type(module).__name__ == "Mlp":
            module.drop1 = nn.Dropout(recipe.mlp_dropout)
            module.drop2 = nn.Dropout(recipe.mlp_dropout)
