r"""Res-Tuning-Bypass: a chain of bottlenecks beside the frozen backbone, fed by its blocks, is what the head sees.

    h_0 = x_0
    h_l = R(x_l; horizontal_l) + R(h_{l-1}; vertical_l),   R(x) = x + gelu(x A + a) B + b       l = 1 ... L
    output: h_L, in the place of x_L

x_l (B, N, D) are the tokens after block l, h_l (B, N, D), A (D, d), a (d), B (d, D), b (D). A and B are drawn by
Xavier's uniform rule, a and b from a normal distribution of 1e-6. The last norm and the head of the backbone stand
behind the bypass; with it training does not start at the pre-trained function. No gradient goes through a block.

Parameters: 2 L (2 D d + d + D). ViT-B/16, d = 10: 387,312.

Source: Jiang et al., arXiv 2310.19859 (NeurIPS 2023); modelscope/ms-swift at 3602360, swift/tuners/restuning.py and
restuning_components.py (``res_adapter`` with its defaults), which the authors contributed there. Their own repository,
ali-vilab/Res-Tuning, and the paper's equations could not be had, so nothing is said about where code and paper differ.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import gelu

from aoft_bench.backbones.layout import block_paths, checked_width
from aoft_bench.methods.parts.side import put_beside
from aoft_bench.methods.registry import Method, Shape, method


class ResTuner(nn.Module):
    """x (..., D) -> x + gelu(x A + a) B + b."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        for layer in (self.down, self.up):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(gelu(self.down(x)))  # type: ignore[no-any-return]


class Bypass(nn.Module):
    """The step of the bypass beside a block."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.horizontal, self.vertical = ResTuner(width, bottleneck), ResTuner(width, bottleneck)

    def forward(self, before: Tensor, after: Tensor, h: Tensor | None) -> Tensor:
        return self.horizontal(after) + self.vertical(before if h is None else h)  # type: ignore[no-any-return]


class Instead(nn.Module):
    """The bypass in the place of the backbone's tokens."""

    def forward(self, after: Tensor, h: Tensor) -> Tensor:
        return h


@method("res_tuning")
class ResTuning(Method):
    """Options of Res-Tuning-Bypass. bottleneck: width d of all tuners."""

    bottleneck: Annotated[int, Field(ge=1)] = 10

    source: ClassVar[str] = "arXiv 2310.19859; modelscope/ms-swift@3602360 swift/tuners/restuning.py"
    published: ClassVar[str] = "not read: the paper's table of the bypass could not be had"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        width = checked_width(block_paths(model)[0][1], self.bottleneck)
        put_beside(model, "res_tuning", lambda *_: Bypass(width, self.bottleneck), Instead)

    def count(self, shape: Shape) -> int:
        return 2 * shape.depth * (2 * shape.width * self.bottleneck + self.bottleneck + shape.width)
