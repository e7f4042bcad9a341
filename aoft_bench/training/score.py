"""Accuracy of a model on a split, and the error for a model that has none."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from aoft_bench.config.schema import RecipeOptions
from aoft_bench.data.transforms import normalize
from aoft_bench.training.hardware import autocast
from aoft_bench.training.shards import IGNORED
from aoft_bench.utils.errors import UserError


def diverged(what: str, recipe: RecipeOptions) -> UserError:
    """The error of a training that came to NaN or infinite values. what: which they are."""
    return UserError(
        f"{what}: recipe.lr={recipe.lr:g} is too high for this method, or recipe.weight_decay={recipe.weight_decay:g} "
        "or an option of the method is; try a tenth of it. No record was written"
    )


def counts_of(logits: Tensor, labels: Tensor) -> Tensor:
    """(correct, images, images with a logit that is not finite) of a batch, on its device; padding is not counted.

    logits (B, classes), labels (B,). Of NaN and infinite logits the largest means nothing.
    """
    real = labels != IGNORED
    broken = real & ~logits.isfinite().all(dim=1)
    return torch.stack([(logits.argmax(dim=1) == labels).sum(), real.sum(), broken.sum()])


@torch.inference_mode()
def count_correct(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    precision: str,
) -> tuple[int, int, int]:
    """(correct, total, broken) of top-1 predictions in evaluation mode, over images (micro average), not over classes.

    broken: images with a logit that is not finite; if there are any, the model has no accuracy.
    batches: (images (B, C, S, S) uint8, labels (B,)) on `device`. The model's mode is restored afterwards.
    """
    training = model.training
    model.eval()
    # counted on the device: reading a number after each batch would make the CPU wait for it
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    for images, labels in batches:
        with autocast(device, precision):
            logits = model(normalize(images, mean, std))
        counts += counts_of(logits, labels)
    model.train(training)
    correct, total, broken = counts.tolist()
    return correct, total, broken
