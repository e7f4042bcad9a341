r"""AdaptFormer: a bottleneck beside the feed-forward part of every block, on the residual stream as it is.

    h + mlp(n(h)) + s (relu(h A + a) B + b)          h (..., D) the residual stream after attention, A (D, d), a (d),
                                                     B (d, D), b (D), s a number, n the block's own layer norm

The bottleneck reads h itself: neither the block's layer norm nor one of its own is in front of it. a, B and b start at
zero, so training starts at the pre-trained function; A is drawn as in the authors' code (Kaiming uniform with
a = sqrt 5, that is U(-1/sqrt(D), 1/sqrt(D))). With ``learn_scale`` s is one trained number a block that starts at
``scale``; without, it is fixed.

Parameters: L * (2 D d + d + D), and L with ``learn_scale``. ViT-B/16, d = 8: 156,768.

Source: Chen et al., arXiv 2205.13535, equation 3; ShoufaChen/AdaptFormer at 6967d67, models/adapter.py and
models/custom_modules.py, with the settings of main_image.py (no layer norm, ``lora`` start, s = 0.1).

Differs from the paper: equation 3 has a layer norm in front of A; the code has none, and its author calls the code
right (issue 9 there). Differs from the code: no dropout (theirs 0.1) in the bottleneck; d = 8 as in tables of the field
(theirs 64); ``learn_scale`` starts at ``scale`` (theirs at 1).
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import (
    attention_branch,
    block_paths,
    checked_width,
    feed_forward_branch,
    replace,
    require,
)
from aoft_bench.methods.registry import Method, Shape, method


class ScaledBottleneck(nn.Module):
    """h (..., D) -> s (relu(h A + a) B + b); shapes in the module's text."""

    scale: Tensor | float

    def __init__(self, width: int, bottleneck: int, scale: float, learn_scale: bool) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.scale = nn.Parameter(torch.full((1,), scale)) if learn_scale else scale
        nn.init.uniform_(self.down.weight, -1 / math.sqrt(width), 1 / math.sqrt(width))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, h: Tensor) -> Tensor:
        return self.up(torch.relu(self.down(h))) * self.scale  # type: ignore[no-any-return]


class BesideFeedForward(nn.Module):
    """A frozen block with an adapter parallel to its feed-forward part and that part's layer norm.

    What drops or scales the block's own branch (stochastic depth, layer scale) does not act on the adapter.
    """

    def __init__(self, block: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.block, self.adapter = block, adapter

    def forward(self, x: Tensor, **attention: Any) -> Tensor:
        x = x + attention_branch(self.block, x, **attention)
        return x + feed_forward_branch(self.block, x) + self.adapter(x)  # type: ignore[no-any-return]


def insert_beside_feed_forward(
    model: nn.Module, method: str, bottleneck: int, make: Callable[[int], nn.Module]
) -> None:
    """Put make(D) beside the feed-forward part of every block; `method` is shown in errors."""
    for path, block in block_paths(model):
        require(block, method, "branches")
        adapter = make(checked_width(block, bottleneck))
        replace(model, path, BesideFeedForward(block, adapter.to(next(block.parameters()))))


@method("adaptformer")
class AdaptFormer(Method):
    """Options of AdaptFormer. bottleneck: width d; scale: s; learn_scale: train s."""

    bottleneck: Annotated[int, Field(ge=1)] = 8
    scale: Annotated[float, Field(gt=0)] = 0.1
    learn_scale: bool = False

    source: ClassVar[str] = "arXiv 2205.13535; ShoufaChen/AdaptFormer@6967d67 models/adapter.py, main_image.py"
    published: ClassVar[str] = "0.16 M"

    def attach(self, model: nn.Module) -> None:
        def make(width: int) -> ScaledBottleneck:
            return ScaledBottleneck(width, self.bottleneck, self.scale, self.learn_scale)

        insert_beside_feed_forward(model, "adaptformer", self.bottleneck, make)

    def count(self, shape: Shape) -> int:
        return shape.depth * (2 * shape.width * self.bottleneck + self.bottleneck + shape.width + self.learn_scale)
