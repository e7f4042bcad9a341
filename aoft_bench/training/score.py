"""Accuracy of a model on a split."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from aoft_bench.data.transforms import normalize
from aoft_bench.training.hardware import autocast


@torch.inference_mode()
def count_correct(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    precision: str,
) -> tuple[int, int]:
    """(correct, total) of top-1 predictions in evaluation mode, over images (micro average), not over classes.

    batches: (images (B, C, S, S) uint8, labels (B,)) on `device`. The model's mode is restored afterwards.
    """
    training = model.training
    model.eval()
    # counted on the device: reading a number after each batch would make the CPU wait for it
    correct = torch.zeros((), dtype=torch.int64, device=device)
    total = 0
    for images, labels in batches:
        with autocast(device, precision):
            logits = model(normalize(images, mean, std))
        correct += (logits.argmax(dim=1) == labels).sum()
        total += len(labels)
    model.train(training)
    return int(correct), total
