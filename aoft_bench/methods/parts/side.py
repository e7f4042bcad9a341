"""A network beside a frozen backbone, which reads its tokens block by block and is trained without it.

The backbone runs without gradients: no activation of its blocks is kept, and the backward pass stays in the side
network. Its state h goes from block to block together with the tokens x, as a pair.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from aoft_bench.backbones.layout import (
    block_paths,
    final_norm,
    replace,
    require,
    require_class_token,
    require_neighbours,
    require_plain_attention,
)

Carried = Tensor | tuple[Tensor, Tensor]  # x, before the first block, or (x, h); x (B, N, D)


class BesideBlock(nn.Module):
    """A frozen block and a step of the side network, step(x, x', h) -> h' with x' = block(x). h is None at first.

    finish: after the last block, finish(x', h') are the tokens that the backbone's last norm and its head see.
    """

    def __init__(self, block: nn.Module, step: nn.Module, finish: nn.Module | None) -> None:
        super().__init__()
        self.block, self.step, self.finish = block, step, finish

    def forward(self, carried: Carried, **attention: Any) -> Carried:
        x, h = carried if isinstance(carried, tuple) else (carried, None)
        with torch.no_grad():
            after = self.block(x, **attention)
        h = self.step(x, after, h)
        return (after, h) if self.finish is None else self.finish(after, h)


def put_beside(
    model: nn.Module, method: str, step: Callable[[int, nn.Module], nn.Module], finish: Callable[[], nn.Module]
) -> None:
    """Put step(index, block) beside every block of a plain ViT, in place, and finish() after the last."""
    blocks = block_paths(model)
    require_neighbours(model, method, to_the_end=True)
    for _, block in blocks:
        require(block, method, "sequence")
    for index, (path, block) in enumerate(blocks):
        last = finish() if index == len(blocks) - 1 else None
        beside = BesideBlock(block, step(index, block), last)
        replace(model, path, beside.to(next(block.parameters())))


def blocks_to_ask(model: nn.Module, method: str) -> tuple[list[tuple[str, nn.Module]], str]:
    """(path, block) of each block that queries can ask (`queried_branch`), and the path of the norm after the last one.

    Raises `UserError`, which names `method`, for other attention than a plain ViT's, and where the head does not read
    the class token.
    """
    blocks = block_paths(model)
    require_neighbours(model, method, to_the_end=True)
    for _, block in blocks:
        require_plain_attention(block, method)
    require_class_token(model, method)
    return blocks, final_norm(model)
