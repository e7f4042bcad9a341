r"""Consolidator: a grouped linear layer beside every linear layer of a block, with the norms and the biases trained.

    x W + b + drop(x G + c)          x (..., in), W (in, out), G (in, out) of g blocks on its diagonal, each
                                     in/g x out/g, b (out) the backbone's own bias, c (out)

The layers are qkv, proj, fc1 and fc2. b is trained, and so are all layer norms of the network. G and c start uniform
in [-0.001, 0.001], so training starts close to the pre-trained function; they fold into W and b. In training ``drop``
is the share of images for which the branch of a layer is left out, and what stays is divided by 1 - drop.

Parameters: sum over the layers of in out / g + 2 out, L of each, and 4 L D + 2 D for the norms. ViT-B/16, g = D / 2 =
384: 425,472. The paper prints 0.35 % of the backbone: 304,128, which is what is stored of G and b + c, without norms.

Source: Hao et al., ICLR 2023, arXiv 2305.00603; THU-MIG/Consolidator at 545d006, model/vision_transformer_timm.py and
experiments/Consolidator/ViT-B_prompt_consolidator_384.yaml. Rate, decay and ``drop`` of each task are in
configs/Consolidator/VTAB: conf/hparams/consolidator.

The code can also reorder the channels before G and have several branches; neither is its default, nor is it here.
Differs from the code: G acts on timm's fused qkv as it does there, so its groups run over q, k and v.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import bias_patterns, block_paths, norm_paths, one_of_each_layer, width_of
from aoft_bench.methods.parts.mergeable import Mergeable, plain_linear
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError

LAYERS = ("q", "k", "v", "proj", "fc1", "fc2")  # q, k and v are in one layer, or in one each
SPREAD = 1e-3


class Consolidated(Mergeable):
    """base(x) + drop(x G + c); blocks (g, in/g, out/g): those of G; shapes in the module's text."""

    def __init__(self, base: nn.Linear, groups: int, drop: float) -> None:
        super().__init__()
        self.base, self.drop = base, drop
        shape = (groups, base.in_features // groups, base.out_features // groups)
        self.blocks = nn.Parameter(torch.empty(shape).uniform_(-SPREAD, SPREAD))
        self.shift = nn.Parameter(torch.empty(base.out_features).uniform_(-SPREAD, SPREAD))

    def forward(self, x: Tensor) -> Tensor:
        groups, inputs, _ = self.blocks.shape
        branch = torch.einsum("...gi,gio->...go", x.reshape(*x.shape[:-1], groups, inputs), self.blocks)
        branch = branch.flatten(-2) + self.shift
        if self.training and self.drop:
            kept = torch.rand(len(x), device=x.device) >= self.drop
            branch = branch * (kept.to(branch.dtype) / (1 - self.drop)).view(-1, *[1] * (branch.ndim - 1))
        y = self.base(x)
        return y + branch.to(y.dtype)  # type: ignore[no-any-return]

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        weight = self.base.weight + torch.block_diag(*self.blocks.mT)  # type: ignore[no-untyped-call]
        bias = self.shift.clone() if self.base.bias is None else self.base.bias + self.shift
        return plain_linear(weight, bias, training=self.training)


@method("consolidator")
class Consolidator(Method):
    """Options of Consolidator. groups: g, null for half the width of the block, as the authors have it; drop: as in the
    module's text."""

    groups: Annotated[int, Field(ge=1)] | None = None
    drop: Annotated[float, Field(ge=0, lt=1)] = 0.0

    source: ClassVar[str] = "arXiv 2305.00603, ICLR 2023; THU-MIG/Consolidator@545d006 model/vision_transformer_timm.py"
    published: ClassVar[str] = "0.35 %: what is stored (304,128), without the norms"
    mergeable: ClassVar[bool] = True
    starts_at_backbone: ClassVar[bool] = False

    def tunes(self, model: nn.Module) -> list[str]:
        biases = [pattern for path, _ in block_paths(model) for pattern in bias_patterns(model, f"{path}.")]
        return [*biases, *(f"{path}.*" for path in norm_paths(model))]

    def scales(self, name: str) -> tuple[float, float]:
        return 1.0, float(
            name.endswith(".blocks")
        )  # G is decayed, biases and norms are not, as in the authors' optimiser

    def attach(self, model: nn.Module) -> None:
        for _, block in block_paths(model):
            groups = width_of(block) // 2 if self.groups is None else self.groups
            for matrix in one_of_each_layer(block, LAYERS):
                base = matrix.layer
                if base.in_features % groups or base.out_features % groups:
                    raise UserError(
                        f"method.groups does not fit: got {groups}, but {matrix.target} is {base.in_features} -> "
                        f"{base.out_features} wide, and it must divide both; give a divisor of the block's width"
                    )
                matrix.replace_layer(Consolidated(base, groups, self.drop).to(base.weight))

    def count(self, shape: Shape) -> int:
        width, hidden = shape.width, shape.hidden
        groups = width // 2 if self.groups is None else self.groups
        branches = (4 * width * width + 2 * width * hidden) // groups
        return shape.depth * (branches + 2 * (5 * width + hidden) + 4 * width) + 2 * width
