r"""RepAdapter: a linear bottleneck in front of attention's qkv and of fc1, folded into them after training.

    y = x' W + c,   x' = x + s ((x A + a) B + b)          x (..., D) normalised tokens, W (D, out), c (out), A (D, d),
                                                          a (d), B (d, D), b (D), s a number

B is block-diagonal: output channels come in ``groups`` equal parts, and each part reads its own part of the bottleneck.
There is no activation, so the two layers are one:

    W' = W + s A B W,   c' = c + s (a B + b) W

B, b and a start at zero, so training starts at the pre-trained function; A is drawn Xavier uniform.

Parameters: 2 L (D d + d + D d / groups + D). ViT-B/16, d = 8, 2 groups: 239,808. The paper and tables of the field
print 0.22 M, which is the matrices A and B alone (221,184); the biases a and b of the code are 18,624 more.

Source: Luo et al., arXiv 2302.08106, section 3; luogen1996/RepAdapter at 360992f, repadapter.py (`repblock`). The
authors choose s for each task: conf/hparams/repadapter.

Differs from the authors' code: no dropout (theirs 0.1) between A and B; the adapter is in front of the linear layer
itself, which is the same on a ViT and, where windows are padded, acts on the padding too on Swin (as theirs does once
it is merged).
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import check_rank, one_of_each_layer
from aoft_bench.methods.parts.mergeable import Mergeable, plain_linear
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError


class RepAdapted(Mergeable):
    """A frozen linear layer behind a linear bottleneck: x (..., D) -> x' W + c; shapes in the module's text.

    base: the frozen layer; down: A and a; up (D, d / groups): what is not zero in B, transposed; up_bias: b.
    """

    def __init__(self, base: nn.Linear, bottleneck: int, groups: int, scale: float) -> None:
        super().__init__()
        width = base.in_features
        self.base, self.groups, self.scale = base, groups, scale
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Parameter(torch.zeros(width, bottleneck // groups))
        self.up_bias = nn.Parameter(torch.zeros(width))
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def dense_up(self) -> Tensor:
        """B transposed, (D, d), its zeros included."""
        return torch.block_diag(*self.up.chunk(self.groups))  # type: ignore[no-any-return, no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        update = nn.functional.linear(self.down(x), self.dense_up(), self.up_bias)
        return self.base(x + self.scale * update)  # type: ignore[no-any-return]

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        base, up = self.base, self.scale * self.dense_up()
        shift = base.weight @ (up @ self.down.bias + self.scale * self.up_bias)
        weight = base.weight + (base.weight @ up) @ self.down.weight
        return plain_linear(weight, shift if base.bias is None else base.bias + shift, training=self.training)


@method("repadapter")
class RepAdapter(Method):
    """Options of RepAdapter. bottleneck: width d; groups: parts of B, a divisor of d and of D; scale: s."""

    bottleneck: Annotated[int, Field(ge=1)] = 8
    groups: Annotated[int, Field(ge=1)] = 2
    scale: Annotated[float, Field(gt=0)] = 1.0

    source: ClassVar[str] = "arXiv 2302.08106; luogen1996/RepAdapter@360992f repadapter.py"
    published: ClassVar[str] = "0.22 M: its matrices alone (221,184), though its code trains the biases too"
    mergeable: ClassVar[bool] = True

    def attach(self, model: nn.Module) -> None:
        for matrix in one_of_each_layer(model, ("q", "k", "v", "fc1")):
            base, width = matrix.layer, matrix.inputs
            check_rank(self.bottleneck, width, width, "the block", option="method.bottleneck")
            self._check_groups(width)
            matrix.replace_layer(RepAdapted(base, self.bottleneck, self.groups, self.scale).to(base.weight))

    def _check_groups(self, width: int) -> None:
        if self.bottleneck % self.groups or width % self.groups:
            raise UserError(
                f"method.groups does not fit: got {self.groups}, but it must divide method.bottleneck "
                f"({self.bottleneck}) and the width of the block ({width})"
            )

    def count(self, shape: Shape) -> int:
        width, d = shape.width, self.bottleneck
        return shape.depth * 2 * (width * d + d + width * d // self.groups + width)
