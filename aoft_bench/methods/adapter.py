r"""Adapter: a bottleneck after the feed-forward part of every block ("Adapter, 0.16 M" in the tables of the field).

    h + gelu(h A + a) B + b          h (..., D) the output of the feed-forward part before it is added back,
                                     A (D, d), a (d), B (d, D), b (D)

B and b start at zero, so training starts at the pre-trained function; A is drawn with standard deviation
1/sqrt(D), a starts at zero.

Parameters: L * (2 D d + d + D). ViT-B/16, d = 8: 156,768.

Source: Houlsby et al., arXiv 1902.00751, figure 2 (adapter on the sublayer's output, before the residual sum); one
adapter a block after the feed-forward part, which is what the 0.16 M of NOAH's tables (arXiv 2206.04673) counts.

Differs from the paper: one adapter a block instead of two, no training of the layer norms.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import block_paths, checked_width
from aoft_bench.methods.parts.wrappers import insert_after
from aoft_bench.methods.registry import Factors, Method, Shape, method


class Bottleneck(nn.Module):
    """h -> h + gelu(h A + a) B + b; shapes in the module's text."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        nn.init.normal_(self.down.weight, std=width**-0.5)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.up(torch.nn.functional.gelu(self.down(h)))  # type: ignore[no-any-return]


@method("adapter")
class Adapter(Method):
    """Options of the adapter. bottleneck: width d."""

    bottleneck: Annotated[int, Field(ge=1)] = 8

    source: ClassVar[str] = "arXiv 1902.00751 figure 2; one a block, as counted in arXiv 2206.04673"
    published: ClassVar[str] = "0.16 M: one a block, after the FFN"

    def attach(self, model: nn.Module) -> None:
        for _, block in block_paths(model):
            width = checked_width(block, self.bottleneck)
            insert_after(block, "mlp", Bottleneck(width, self.bottleneck))

    def count(self, shape: Shape) -> int:
        return shape.depth * (2 * shape.width * self.bottleneck + self.bottleneck + shape.width)

    def factors(self, module: nn.Module) -> Factors | None:
        return bottleneck_factors(module) if isinstance(module, Bottleneck) else None


def bottleneck_factors(module: nn.Module) -> Factors:
    """`Factors` of a bottleneck of two linear layers, ``down`` and ``up``."""
    a, b = module.down.weight.T, module.up.weight  # type: ignore[union-attr, operator]
    return Factors(a, b.T, (a, b))  # type: ignore[arg-type]
