"""AdamW, and the learning rate of each step: linear warm-up, half a cosine, cool-down."""

import math

import torch
from torch import nn

from aoft_bench.config.schema import RecipeOptions


def adamw(groups: dict[tuple[float, float], list[nn.Parameter]], recipe: RecipeOptions) -> torch.optim.AdamW:
    """The optimizer. groups: (learning rate, weight decay), as multiples of the recipe's -> parameters."""
    options = [
        {"params": parameters, "lr": recipe.lr * lr, "weight_decay": recipe.weight_decay * decay}
        for (lr, decay), parameters in groups.items()
    ]
    # fused: one pass over each tensor; torch's default on a CPU takes ten
    return torch.optim.AdamW(options, lr=recipe.lr, fused=True)


def schedule(optimizer: torch.optim.Optimizer, recipe: RecipeOptions, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Scale the rates of all groups from step to step, as `learning_rate` says."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(recipe, step, steps) / recipe.lr)


def learning_rate(recipe: RecipeOptions, step: int, steps: int) -> float:
    """The rate of a step, 0 <= step < steps: linear from warmup_lr to lr, half a cosine down to min_lr, and that rate
    in the cool-down.

    ``schedule: step`` follows every step, and the cosine begins where the warm-up ends. ``epoch`` holds a rate for an
    epoch, as code does that calls timm's ``CosineLRScheduler.step(epoch)`` after epoch 0, 1, ..: each rate comes one
    epoch late, so that epochs 0 and 1 have warmup_lr, and the cosine begins at epoch 0, behind the warm-up
    (``warmup_prefix=False``).
    """
    if recipe.schedule == "epoch":
        at, warmup = max(0, step * recipe.epochs // steps - 1), recipe.warmup
        first, end = 0, recipe.epochs - recipe.cooldown_epochs
    else:
        at, warmup = step, steps * recipe.warmup // recipe.epochs
        first, end = warmup, steps * (recipe.epochs - recipe.cooldown_epochs) // recipe.epochs
    if at < warmup:
        return recipe.warmup_lr + (recipe.lr - recipe.warmup_lr) * at / warmup
    progress = (at - first) / max(1, end - first)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
