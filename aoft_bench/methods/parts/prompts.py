"""Prompt tokens around frozen blocks, for every method of the VPT family.

The tokens of a plain ViT are [prefix, patches]; the prefix holds the class and register tokens, if any. Prompts go
between the two:

    deep      every block inserts its own and removes them after it, the same as replacing those of the block before
    shallow   the first block inserts them, the last one removes them

What follows the blocks (final norm, pooling, head) sees the usual tokens.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from aoft_bench.backbones.layout import (
    block_paths,
    expect_prompts,
    patch_area,
    prefix_tokens,
    replace,
    require,
    require_neighbours,
    width_of,
)


class Prompts(nn.Module):
    """n trained tokens of width D, drawn from U(-bound, bound). Called without arguments: (n, D)."""

    def __init__(self, prompts: int, width: int, bound: float) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(prompts, width).uniform_(-bound, bound))

    def forward(self) -> Tensor:
        return self.tokens


class PromptedBlock(nn.Module):
    """A frozen block that may insert prompts before it and remove some after it.
    prefix: number of tokens before the prompts; prompts: module that gives the tokens to insert, (n, D), or None;
    removed: how many tokens after the prefix are removed from the block's output. An attention mask is passed on as it
    is, so it has a row and a column for every prompt."""

    def __init__(self, block: nn.Module, prefix: int, prompts: nn.Module | None, removed: int) -> None:
        super().__init__()
        self.block, self.prompts = block, prompts
        self.prefix, self.removed = prefix, removed

    def forward(self, x: Tensor, **attention: Any) -> Tensor:
        if self.prompts is not None:
            tokens = self.prompts().to(x.dtype).expand(x.shape[0], -1, -1)
            x = torch.cat([x[:, : self.prefix], tokens, x[:, self.prefix :]], dim=1)
        x = self.block(x, **attention)
        if self.removed:
            x = torch.cat([x[:, : self.prefix], x[:, self.prefix + self.removed :]], dim=1)
        return x


def insert_prompts(
    model: nn.Module, method: str, prompts: int, make: Callable[[int], nn.Module], deep: bool = True
) -> None:
    """Wrap the blocks of a plain ViT, in place, so that each (deep) or the first one (shallow) gets prompts.

    method: name to show in errors; prompts: tokens a block, n; make(D): module that gives them, (n, D).
    """
    blocks = block_paths(model)
    if not deep:
        require_neighbours(model, method, to_the_end=False)
    for _, block in blocks:
        require(block, method, "sequence", "more tokens")
    prefix = prefix_tokens(model, method)
    for index, (path, block) in enumerate(blocks):
        expect_prompts(block, prompts)
        inserts, removes = deep or index == 0, deep or index == len(blocks) - 1
        if inserts or removes:
            made = make(width_of(block)).to(next(block.parameters())) if inserts else None
            replace(model, path, PromptedBlock(block, prefix, made, prompts if removes else 0))


def prompts_of_vpt(model: nn.Module, prompts: int) -> Callable[[int], Prompts]:
    """D -> `prompts` tokens of width D as VPT draws them: Xavier's bound for RGB patches, sqrt(6 / (3 area + D))."""
    return lambda width: Prompts(prompts, width, math.sqrt(6 / (3 * patch_area(model) + width)))
