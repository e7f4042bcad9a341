r"""LST: a small transformer beside the frozen one reads all of its blocks, and alone is classified.

    h_0 = x_0 W_0 + w_0
    h_l = side_l(g_l h_{l-1} + (1 - g_l) (x_l W_l + w_l)),   g_l = sigmoid(a_l / T)        l = 1 ... L
    output: h_L U + u, in the place of x_L

x_l (B, N, D) are the tokens after block l, h_l (B, N, d), W (D, d), U (d, D), a_l a number that starts at 0, T = 0.1.
side_l is a pre-norm ViT block as narrow as the ladder: its heads, as many as the backbone's, are D / (heads r) wide, so
d = D / r, and its hidden layer is H / r wide. The last norm and the head of the backbone stand behind the ladder, and
training does not start at the pre-trained function. No gradient goes through a block of the backbone.

Parameters: (L + 1) (D d + d) + L (4 d^2 + 2 d H/r + 9 d + H/r) + L + d D + D. ViT-B/16, r = 8: 2,376,300 (2.38 M in
V-PETL-Bench's table).

Source: Sung, Cho, Bansal, arXiv 2206.06522 (NeurIPS 2022), section 3; ylsung/Ladder-Side-Tuning at 1798e82,
CLIP-ViL/src/lxrt/modeling.py (the ladder, without dropped layers), VL-T5/src/side_transformers/config.py (biases).

Differs from the code: there is none for image classification. The ladder and its gates are the authors'; the side block
is a ViT's, where theirs are BERT's and T5's. Its weights are drawn (normal, 0.02, truncated), the authors take them out
of the backbone by pruning; the ladder's own are torch's default, as theirs.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from aoft_bench.backbones.layout import block_paths, heads_of, matrix_of, width_of
from aoft_bench.methods.parts.side import put_beside
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError

TEMPERATURE = 0.1


class NarrowBlock(nn.Module):
    """A pre-norm ViT block on tokens (B, N, d), with `hidden` values between its two last layers."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        for layer in (self.qkv, self.proj, self.fc1, self.fc2):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(h)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = h + self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return h + self.fc2(gelu(self.fc1(self.norm2(h))))  # type: ignore[no-any-return]


class Rung(nn.Module):
    """The step of the ladder beside a block. enter: W_0, before the first block; elsewhere it does nothing."""

    def __init__(self, width: int, narrow: NarrowBlock, small: int, first: bool) -> None:
        super().__init__()
        self.enter = nn.Linear(width, small) if first else nn.Identity()
        self.down, self.side = nn.Linear(width, small), narrow
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, before: Tensor, after: Tensor, h: Tensor | None) -> Tensor:
        h = self.enter(before if h is None else h)
        gate = torch.sigmoid(self.gate / TEMPERATURE)
        return self.side(gate * h + (1 - gate) * self.down(after))  # type: ignore[no-any-return]


class Leave(nn.Module):
    """The ladder's output as tokens of the backbone: h (B, N, d) -> h U + u (B, N, D)."""

    def __init__(self, small: int, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(small, width)

    def forward(self, after: Tensor, h: Tensor) -> Tensor:
        return self.up(h)  # type: ignore[no-any-return]


@method("lst")
class LST(Method):
    """Options of LST. reduction: r, how much narrower than the backbone the side network is."""

    reduction: Annotated[int, Field(ge=1)] = 8

    source: ClassVar[str] = "arXiv 2206.06522; ylsung/Ladder-Side-Tuning@1798e82 CLIP-ViL/src/lxrt/modeling.py"
    published: ClassVar[str] = "2.38 M in V-PETL-Bench's table; the paper has no image classification"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        block = block_paths(model)[0][1]
        width, heads = width_of(block), heads_of(block, "lst")
        head = matrix_of(block, "q").outputs // heads
        if self.reduction > head:
            raise UserError(
                f"method.reduction is too large: got {self.reduction}, but a head of the backbone is {head} wide; "
                f"give 1 to {head}"
            )
        small, hidden = heads * (head // self.reduction), matrix_of(block, "fc1").outputs // self.reduction
        put_beside(
            model,
            "lst",
            lambda index, _: Rung(width, NarrowBlock(small, heads, hidden), small, index == 0),
            lambda: Leave(small, width),
        )

    def count(self, shape: Shape) -> int:
        """Where the reduction divides the width of a head."""
        small, hidden = shape.width // self.reduction, shape.hidden // self.reduction
        side = 4 * small**2 + 2 * small * hidden + 9 * small + hidden
        ladder = (shape.depth + 1) * (shape.width + 1) * small + (small + 1) * shape.width
        return shape.depth * (side + 1) + ladder
