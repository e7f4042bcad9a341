"""AdamW, and the learning rate of each step: linear warm-up, then half a cosine."""

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
    """The rate of a step, 0 <= step < steps: linear from warmup_lr to lr, then half a cosine down to min_lr."""
    warmup = steps * recipe.warmup // recipe.epochs
    if step < warmup:
        return recipe.warmup_lr + (recipe.lr - recipe.warmup_lr) * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
