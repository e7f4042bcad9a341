r"""GOFT: the inputs of a matrix are rotated in pairs, D - 1 of them, which makes one orthogonal matrix R (D, D).

    x R W + b,   R = P_n ... P_2 P_1                  x (..., D), W (D, out), n = log2 D rounded up

P_1 rotates the pairs of coordinates (0, 1), (2, 3), ...; P_2 the first of each pair with that of the next, (0, 2),
(4, 6), ...; P_3 (0, 4), (8, 12), ...; and so on, until one is left. Where their number is odd the last one waits for
the next P. In the plane of a pair P is

    [cos t, -sin t; sin t, cos t],   t = pi tanh(a)

with one trained number a for each pair. All a start at zero, so training starts at the pre-trained function. R folds
into the weight, and training runs with R W: of D columns P_r touches D / 2^(r-1), so all of them together cost about
as much as two passes over W. The gradient of R W is formed, as in full fine-tuning (docs/performance.md, RLRR).

Parameters: L * sum over targets of (in - 1). ViT-B/16: 18,408 on q and v, 82,872 on all six. The paper prints 0.018 M,
which is q and v, and says that it tunes "all the linear layers in every transformer block".

Source: Ma et al., ICML 2024, arXiv 2404.04316, equations 1 to 4; ArthurLeoM/peft-givens at 0fe813e,
tuners/givens/layer.py (``strict_oft``, ``no_scaling``), which has t = pi tanh(a). The paper's mean for VTAB, 78.6, is
that of the three groups (qGOFT: 79.4); over the 19 tasks it is 76.00.

Differs from the paper: nothing in the function. Differs from the repository's present code (e6f03ec, "goft-v2"): that
one turns each pair of P_2, P_3, ... with the coordinate next to its first one, (0, 1) instead of (0, 2), and so is not
orthogonal.
"""

import math
from dataclasses import field
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import Matrix, Target, matrices
from aoft_bench.methods.parts.mergeable import Mergeable, compute_dtype, plain_linear
from aoft_bench.methods.registry import Method, Shape, method


class Pairs(nn.Module):
    """The 2 x 2 matrices of `inputs` - 1 pairs, P_1's first. Called without arguments: their entries [g00, g01, g10,
    g11], (4, inputs - 1)."""


class Rotations(Pairs):
    """Rotations by pi tanh(a), a (inputs - 1)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.angles = nn.Parameter(torch.zeros(inputs - 1))

    def forward(self) -> Tensor:
        angles = math.pi * torch.tanh(self.angles)
        cos, sin = angles.cos(), angles.sin()
        return torch.stack([cos, -sin, sin, cos])


def transform(weight: Tensor, pairs: Tensor) -> Tensor:
    """R W of a weight (out, D) that is stored transposed, W^T; pairs (4, D - 1), those of P_1 first."""
    count = weight.shape[1] // 2
    if count == 0:
        return weight
    one, other = weight[:, : 2 * count : 2], weight[:, 1 : 2 * count : 2]
    g00, g01, g10, g11 = pairs[:, :count]
    # the second of each pair is done; what is left goes on to the next P
    second = g10 * one + g11 * other
    rest = transform(torch.cat([g00 * one + g01 * other, weight[:, 2 * count :]], dim=1), pairs[:, count:])
    return torch.cat([torch.stack([rest[:, :count], second], dim=2).flatten(1), rest[:, count:]], dim=1)


class TransformedLinear(Mergeable):
    """A frozen linear layer that computes x R W + b, with an R for some of the matrices that it holds.

    pairs: name of a matrix ("q", "fc1", ...) -> its `Pairs`; rows: the slice of output rows of each.
    """

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.pairs = nn.ModuleDict()
        self.rows: dict[str, slice] = {}

    def add(self, matrix: Matrix, pairs: Pairs) -> None:
        self.pairs[matrix.target] = pairs.to(self.base.weight)
        self.rows[matrix.target] = matrix.rows

    def weight(self) -> Tensor:
        """The weight (out, in) with R of every matrix in it."""
        parts, done = [], 0
        for target, rows in sorted(self.rows.items(), key=lambda item: item[1].start):
            parts += [self.base.weight[done : rows.start], transform(self.base.weight[rows], self.pairs[target]())]
            done = rows.stop
        return torch.cat([*parts, self.base.weight[done:]])

    def forward(self, x: Tensor) -> Tensor:
        dtype = compute_dtype(x)
        with torch.autocast(x.device.type, enabled=False):  # R is built in full precision
            weight = self.weight().to(dtype)
        bias = None if self.base.bias is None else self.base.bias.to(dtype)
        return nn.functional.linear(x.to(dtype), weight, bias)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        bias = self.base.bias
        return plain_linear(self.weight(), None if bias is None else bias.detach().clone(), training=self.training)


@method("goft")
class GOFT(Method):
    """Options of GOFT. targets: matrices of each block."""

    targets: Annotated[list[Target], Field(min_length=1)] = field(default_factory=lambda: ["q", "v"])

    source: ClassVar[str] = (
        "arXiv 2404.04316, ICML 2024, equations 1-4; ArthurLeoM/peft-givens@0fe813e tuners/givens/layer.py"
    )
    published: ClassVar[str] = "0.018 M, which is q and v, though the text says all layers (82,872)"
    mergeable: ClassVar[bool] = True
    forms_weight_gradients: ClassVar[bool] = True
    pairs: ClassVar[type[Pairs]] = Rotations

    def attach(self, model: nn.Module) -> None:
        for matrix in matrices(model, self.targets):
            if not isinstance(matrix.layer, TransformedLinear):
                matrix.replace_layer(TransformedLinear(matrix.layer))
            matrix.layer.add(matrix, self.pairs(matrix.inputs))

    def count(self, shape: Shape) -> int:
        return shape.depth * sum(shape.sides(target)[0] - 1 for target in self.targets)
