r"""Convpass: a bottleneck with a 3 x 3 convolution over the patches, beside attention and the feed-forward part.

    f(x) + s (g(conv(g(x A + a))) B + b)          x (tokens, D) the normalised input of the sublayer f, A (D, d), a (d),
                                                  conv d -> d channels with bias, B (d, D), b (D), s a number,
                                                  g(z) = z sigmoid(1.702 z)

The patches are laid out as the backbone's own grid, (height, width, d), and the convolution pads it with zeros. Each of
the tokens in front of them (class token, registers) goes through the same convolution as an image of one pixel, so it
meets only the middle of the kernel. B and b start at zero, so training starts at the pre-trained function; A is drawn
Xavier uniform; the kernel starts as the identity (``init: identity``) or Xavier uniform (``xavier``), the biases at
zero. ``positions: both`` has a bypass at attention and one at the feed-forward part, ``attn`` only the first
(Convpass-attn).

Parameters: L * bypasses a block * (2 D d + 9 d^2 + 2 d + D). ViT-B/16, d = 8: two a block 327,552; attention only
163,776.

Source: Jie and Deng, arXiv 2207.07039, section 3; JieShibo/PETL-ViT at 026e4f1, convpass/vtab/convpass.py. The authors
choose s and the start of the kernel for each task: conf/hparams/convpass.

Differs from the authors' code: no dropout (theirs 0.1) in the bottleneck; the grid is the backbone's (theirs is always
14 x 14) and there may be no token in front of it, or several (theirs: one); under stochastic depth a dropped sublayer
takes its bypass with it (theirs drops the two independently), and layer scale, where a backbone has it, acts on both;
Swin is refused (theirs has a variant for it).
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import (
    Sublayer,
    block_paths,
    checked_width,
    patch_grid,
    prefix_tokens,
    require,
)
from aoft_bench.methods.parts.wrappers import insert_beside
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError

Init = Literal["identity", "xavier"]


class Bypass(nn.Module):
    """x (images, prefix + height * width, D) -> s (g(conv(g(x A + a))) B + b); shapes in the module's text.

    grid: (height, width) in patches; prefix: number of tokens in front of the patches.
    """

    def __init__(self, width: int, bottleneck: int, scale: float, init: Init, grid: tuple[int, int], prefix: int):
        super().__init__()
        self.scale, self.grid, self.prefix = scale, grid, prefix
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.conv = nn.Conv2d(bottleneck, bottleneck, 3, padding=1)
        nn.init.xavier_uniform_(self.down.weight)
        if init == "xavier":
            nn.init.xavier_uniform_(self.conv.weight)
        else:
            nn.init.dirac_(self.conv.weight)
        for zero in (self.down.bias, self.conv.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.grid
        if x.shape[1] != self.prefix + height * width:
            raise UserError(
                f"convpass was attached for {self.prefix} + {height} x {width} tokens, got {x.shape[1]}; build the "
                "backbone for the size of the images, without prompts and without dropping patches"
            )
        z = _gate(self.down(x))
        image = z[:, self.prefix :].mT.reshape(len(z), -1, height, width)
        patches = self.conv(image).flatten(2).mT
        # a 3 x 3 convolution of one pixel in a frame of zeros is its middle
        alone = nn.functional.linear(z[:, : self.prefix], self.conv.weight[:, :, 1, 1], self.conv.bias)
        return self.up(_gate(torch.cat([alone, patches], dim=1))) * self.scale  # type: ignore[no-any-return]


def _gate(z: Tensor) -> Tensor:
    return z * torch.sigmoid(1.702 * z)


@method("convpass")
class Convpass(Method):
    """Options of Convpass. bottleneck: width d; scale: s; positions, init: as in the module's text."""

    bottleneck: Annotated[int, Field(ge=1)] = 8
    scale: Annotated[float, Field(gt=0)] = 1.0
    positions: Literal["both", "attn"] = "both"
    init: Init = "identity"

    source: ClassVar[str] = "arXiv 2207.07039; JieShibo/PETL-ViT@026e4f1 convpass/vtab/convpass.py"
    published: ClassVar[str] = "0.33 M; on attention only 163,776, printed 0.16 M"

    def attach(self, model: nn.Module) -> None:
        blocks = [block for _, block in block_paths(model)]
        for block in blocks:
            require(block, "convpass", "sequence")
        grid, prefix = patch_grid(model, "convpass"), prefix_tokens(model, "convpass")
        for block in blocks:
            width = checked_width(block, self.bottleneck)
            for sublayer in self._sublayers:
                insert_beside(block, sublayer, Bypass(width, self.bottleneck, self.scale, self.init, grid, prefix))

    def count(self, shape: Shape) -> int:
        d = self.bottleneck
        return shape.depth * len(self._sublayers) * (2 * shape.width * d + 9 * d * d + 2 * d + shape.width)

    @property
    def _sublayers(self) -> list[Sublayer]:
        return ["attn", "mlp"] if self.positions == "both" else ["attn"]
