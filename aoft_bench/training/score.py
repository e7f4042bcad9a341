"""What a model predicts of a split, its accuracy on further test sets, and the error for a model that has none."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from aoft_bench.config.schema import RecipeOptions
from aoft_bench.data.transforms import normalize
from aoft_bench.records.predictions import Predictions, index_type
from aoft_bench.training.hardware import autocast
from aoft_bench.training.shards import IGNORED
from aoft_bench.utils.errors import UserError


class DivergedError(UserError):
    """Training came to NaN or infinite values: the settings are to blame, not the machine."""


def diverged(what: str, recipe: RecipeOptions) -> DivergedError:
    """The error of a training that came to NaN or infinite values. what: which they are."""
    return DivergedError(
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
def predict(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    precision: str,
    keep_logits: bool = False,
) -> tuple[Predictions, int]:
    """What the model predicts in evaluation mode of all images, in order, and how many have a logit that is not finite.

    If there are any of those, the model has no accuracy. Logits are kept only where that is asked for; all else takes
    25 bytes an image.
    batches: (images (B, C, S, S) uint8, labels (B,)) on `device`. The model's mode is restored afterwards.
    """
    training = model.training
    model.eval()
    # all stays on the device: reading a number after each batch would make the CPU wait for it
    parts: list[dict[str, Tensor]] = []
    classes = 1
    for images, labels in batches:
        with autocast(device, precision):
            logits = model(normalize(images, mean, std))
        classes = logits.shape[1]
        parts.append(_predicted(logits, labels, keep_logits))
    model.train(training)
    arrays = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
    broken = int(arrays.pop("broken").sum())
    for name in ("label", "predicted"):
        arrays[name] = arrays[name].astype(index_type(classes))
    return Predictions(**arrays), broken


class ShiftScore(NamedTuple):
    """How many images of a further test set are right: of its own classes the likeliest one, and of all classes."""

    correct: int
    correct_of_all: int
    total: int
    classes: int


@torch.inference_mode()
def score_shift(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    present: Tensor,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    precision: str,
) -> tuple[ShiftScore, int]:
    """What is right of a test set that has only the classes `present` (C,), in rising order, and how many images have
    a logit that is not finite. ImageNet-A and -R are scored among their own 200 classes, as their authors do.

    batches: see `predict`. The model's mode is restored afterwards.
    """
    training = model.training
    model.eval()
    present = present.to(device)
    among, of_all = (torch.zeros(3, dtype=torch.int64, device=device) for _ in range(2))
    for images, labels in batches:
        with autocast(device, precision):
            logits = model(normalize(images, mean, std))
        of_all += counts_of(logits, labels)
        among += counts_of(logits[:, present], torch.searchsorted(present, labels))
    model.train(training)
    correct_of_all, total, broken = of_all.tolist()
    return ShiftScore(int(among[0]), correct_of_all, total, len(present)), broken


def _predicted(logits: Tensor, labels: Tensor, keep_logits: bool) -> dict[str, Tensor]:
    """The arrays of `Predictions` of a batch, and `broken`: whether a logit is not finite. logits: (B, classes)."""
    predicted = logits.argmax(dim=1)
    found = {"label": labels.int(), "predicted": predicted.int(), "broken": ~logits.isfinite().all(dim=1)}
    logits = logits.float()
    probabilities = logits.softmax(dim=1)
    of_both = probabilities.gather(1, torch.stack([predicted, labels], dim=1))
    found |= {"confidence": of_both[:, 0], "probability_of_label": of_both[:, 1]}
    found["sum_of_squares"] = probabilities.square().sum(dim=1)
    if keep_logits:
        limit = torch.finfo(torch.float16).max
        found["logits"] = logits.clamp(-limit, limit).half()
    return found
