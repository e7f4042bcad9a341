r"""Adapter+: a bottleneck with a learned scale for every channel, on the residual stream after every block.

    h + (gelu(h A + a) B + b) * s          h (..., D) the output of the block, A (D, d), a (d), B (d, D), b (D),
                                           s (D), multiplied entry by entry

A and B are drawn from a normal distribution of standard deviation 0.01 that is cut off at two of them (Houlsby's
start, in the paper's reading of it), a and b start at zero, s at one: training starts near the pre-trained function,
not at it. The bottleneck reads h as it is; there is no layer norm in front of it.

Parameters: L * (2 D d + d + 2 D). ViT-B/16, d = 8: 165,984. The paper prints 0.20 M, which has the head in it: the 19
tasks of VTAB have 49.5 classes on average, 38,046 more, in sum 204,030.

Source: Steitz and Roth, arXiv 2406.06820 (CVPR 2024), section 3, "Adapter+"; visinf/adapter_plus at 191c4ab,
conf/adapter/adapter_plus.yaml and adapter_plus/vit_adapter.py (`forward_post`).

Differs from the authors' code: no stochastic depth of the adapter (theirs drops it at a rate of 0.1).
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import block_paths, checked_width, replace, require
from aoft_bench.methods.parts.wrappers import WithAdapters
from aoft_bench.methods.registry import Method, Shape, method

START_STD = 0.01


class ChannelScaledBottleneck(nn.Module):
    """h (..., D) -> h + (gelu(h A + a) B + b) * s; shapes in the module's text."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.scale = nn.Parameter(torch.ones(width))
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=START_STD, a=-2 * START_STD, b=2 * START_STD)
            nn.init.zeros_(layer.bias)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.up(torch.nn.functional.gelu(self.down(h))) * self.scale  # type: ignore[no-any-return]


@method("adapter_plus")
class AdapterPlus(Method):
    """Options of Adapter+. bottleneck: width d."""

    bottleneck: Annotated[int, Field(ge=1)] = 8

    source: ClassVar[str] = "arXiv 2406.06820, CVPR 2024; visinf/adapter_plus@191c4ab adapter_plus/vit_adapter.py"
    published: ClassVar[str] = "0.20 M with the head"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        for path, block in block_paths(model):
            require(block, "adapter_plus", "tokens")
            width = checked_width(block, self.bottleneck)
            adapter = ChannelScaledBottleneck(width, self.bottleneck).to(next(block.parameters()))
            replace(model, path, WithAdapters(block, adapter))

    def count(self, shape: Shape) -> int:
        return shape.depth * (2 * shape.width * self.bottleneck + self.bottleneck + 2 * shape.width)
