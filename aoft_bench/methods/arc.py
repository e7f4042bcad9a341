r"""ARC: linear adapters whose projection is shared by all blocks, in front of attention and the feed-forward part.

    x + x A diag(c) A^T + b          x (..., D) the normalised input, A (D, d), c (d), b (D)

One A serves attention in all blocks and another one the feed-forward part; c and b are each block's own. The sum goes
into qkv, or into fc1. It is linear, so it folds into that layer: W (I + A diag(c) A^T) and W b + bias, W (out, D).

``init: released`` is the authors': A Xavier uniform, b zero, c zero before attention and Xavier uniform before the
feed-forward part. The published numbers belong to it, so it is the default. ``init: identity`` sets every c to zero:
training starts at the pre-trained function.

Parameters: 2 * (D d + L (d + D)). ViT-B/16, d = 50: 96,432. Tables print 0.13 M on VTAB, which adds the head averaged
over the tasks; the 0.25 M on FGVC is neither this (0.28 with the head) nor its half before attention (0.23).

Source: Dong et al., NeurIPS 2023, arXiv 2310.06234; DavidYanAnDe/ARC at 8227d57, Model/ARC_ViT.py (the same module as
in Model/ARC_new.py), width d in Model/Model_Config.py.

Differs from the paper: no dropout between A and A^T. On Swin one A serves all blocks of one width, which are those of
one stage, as in the authors' Model/ARC_swin_b.py; there it acts after windows are cut, so padding is adapted too.
"""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import check_rank, one_of_each_layer
from aoft_bench.methods.parts.mergeable import Mergeable, plain_linear
from aoft_bench.methods.registry import Method, Shape, method

AUTHORS_BOTTLENECK = 50


class Recomposed(Mergeable):
    """base(x + x A diag(c) A^T + b). down: A (in, d), shared with other layers; coefficients: c at the start (d)."""

    def __init__(self, base: nn.Linear, down: nn.Parameter, coefficients: Tensor) -> None:
        super().__init__()
        self.base = base
        self.down = down
        self.coefficients = nn.Parameter(coefficients.to(down))
        self.shift = nn.Parameter(torch.zeros(base.in_features).to(down))

    def forward(self, x: Tensor) -> Tensor:
        adapted = ((x @ self.down) * self.coefficients) @ self.down.T + self.shift
        return self.base(x + adapted)  # type: ignore[no-any-return]

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        base = self.base
        shift = base.weight @ self.shift
        weight = base.weight + (base.weight @ self.down * self.coefficients) @ self.down.T
        return plain_linear(weight, shift if base.bias is None else base.bias + shift, training=self.training)


@method("arc")
class ARC(Method):
    """Options of ARC. bottleneck: width d, null for the authors' 50, but at most half the width of the network; init:
    as in the module's text."""

    bottleneck: Annotated[int, Field(ge=1)] | None = None
    init: Literal["released", "identity"] = "released"

    source: ClassVar[str] = "arXiv 2310.06234; DavidYanAnDe/ARC@8227d57 Model/ARC_ViT.py"
    published: ClassVar[str] = "0.13 M with the head"
    mergeable: ClassVar[bool] = True

    @property
    def starts_at_backbone(self) -> bool:
        return self.init == "identity"

    def attach(self, model: nn.Module) -> None:
        shared: dict[tuple[bool, int], nn.Parameter] = {}
        for matrix in one_of_each_layer(model, ("q", "k", "v", "fc1")):
            of_attention = matrix.target in ("q", "k", "v")
            base, width, key = matrix.layer, matrix.inputs, (of_attention, matrix.inputs)
            d = self._bottleneck(width)
            check_rank(d, width, width, "the block", option="method.bottleneck")
            if key not in shared:
                shared[key] = nn.Parameter(_xavier(width, d).to(base.weight))
            zero = self.init == "identity" or of_attention
            coefficients = torch.zeros(d) if zero else _xavier(1, d)[0]
            matrix.replace_layer(Recomposed(base, shared[key], coefficients))

    def count(self, shape: Shape) -> int:
        d = self._bottleneck(shape.width)
        return 2 * (shape.width * d + shape.depth * (d + shape.width))

    def _bottleneck(self, width: int) -> int:
        return min(AUTHORS_BOTTLENECK, width // 2) if self.bottleneck is None else self.bottleneck


def _xavier(rows: int, columns: int) -> Tensor:
    bound = math.sqrt(6 / (rows + columns))
    return torch.empty(rows, columns).uniform_(-bound, bound)
