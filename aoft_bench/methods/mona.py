r"""Mona: bottlenecks with depthwise convolutions on the residual stream, after attention and after the block.

    x + gelu(m(u A + a)) B + b,   u = g n(x) + h x       x (..., D), n a trained layer norm, g (D), h (D), A (D, d),
                                                         a (d), B (d, D), b (D)
    m(z) = y + y P + p,   y = z + (c3(z) + c5(z) + c7(z)) / 3

c3, c5 and c7 are depthwise convolutions of 3 x 3, 5 x 5 and 7 x 7 with bias, padded with zeros, over tokens as they lie
on the grid; P (d, d), p (d). g starts at 1e-6, h at one, the rest as PyTorch's layers do, so training does not start at
the pre-trained function. On a plain ViT each token in front of the patches is an image of one pixel, as in convpass.py.

Parameters: 2 L (D (2 d + 5) + d^2 + 88 d). ViT-B/16, d = 64: 2,684,928.

Source: Yin et al., CVPR 2025, arXiv 2408.08345, "5%>100%"; Leiyi-Hu/mona at 5deeac9, Swin-Transformer-Classification,
mmcls/models/backbones/swin_transformer_mona.py. Its tables are for Swin.

Differs from the authors' code: no dropout (theirs 0.1) before B; it has no plain ViT, so what is done there is ours.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import (
    block_paths,
    checked_width,
    on_images,
    patch_grid,
    prefix_tokens,
    replace,
    require,
    width_of,
)
from aoft_bench.methods.parts.wrappers import WithAdapters
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError

AUTHORS_BOTTLENECK = 64


class MultiScale(nn.Module):
    """m of the module's text, on images (B, d, height, width)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels) for size in (3, 5, 7)
        )
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        y = z + torch.stack([convolution(z) for convolution in self.convolutions]).sum(0) / 3
        return y + self.mix(y)  # type: ignore[no-any-return]


class MonaAdapter(nn.Module):
    """x -> x + gelu(m(u A + a)) B + b. x is (B, height, width, D), or (B, prefix + height * width, D) with `grid`, its
    (height, width); prefix: number of tokens in front of the patches."""

    def __init__(self, width: int, bottleneck: int, grid: tuple[int, int] | None, prefix: int) -> None:
        super().__init__()
        self.grid, self.prefix = grid, prefix
        self.norm = nn.LayerNorm(width)
        self.of_norm, self.of_input = nn.Parameter(torch.full((width,), 1e-6)), nn.Parameter(torch.ones(width))
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.scales = MultiScale(bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        z = self.down(self.norm(x) * self.of_norm + x * self.of_input)
        z = self._on_image(z) if self.grid is None else self._on_tokens(z, *self.grid)
        return x + self.up(nn.functional.gelu(z))  # type: ignore[no-any-return]

    def _on_image(self, z: Tensor) -> Tensor:
        return self.scales(z.movedim(-1, 1)).movedim(1, -1)  # type: ignore[no-any-return]

    def _on_tokens(self, z: Tensor, height: int, width: int) -> Tensor:
        if z.shape[1] != self.prefix + height * width:
            raise UserError(
                f"mona was attached for {self.prefix} + {height} x {width} tokens, got {z.shape[1]}; build the "
                "backbone for the size of the images, without prompts and without dropping patches"
            )
        alone, patches = z[:, : self.prefix], z[:, self.prefix :]
        alone = self._on_image(alone.reshape(-1, 1, 1, z.shape[2])).view_as(alone)
        patches = self._on_image(patches.unflatten(1, (height, width))).flatten(1, 2)  # type: ignore[no-untyped-call]
        return torch.cat([alone, patches], dim=1)


@method("mona")
class Mona(Method):
    """Options of Mona. bottleneck: width d, null for the authors' 64, but at most two thirds of the block's
    width."""

    bottleneck: Annotated[int, Field(ge=1)] | None = None

    source: ClassVar[str] = "Yin et al., CVPR 2025; Leiyi-Hu/mona@5deeac9 swin_transformer_mona.py"
    published: ClassVar[str] = "not printed for a ViT"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        for path, block in block_paths(model):
            grid, prefix = None, 0
            require(block, "mona", "branches")
            if not on_images(block):
                grid, prefix = patch_grid(model, "mona"), prefix_tokens(model, "mona")
            d = self._bottleneck(width_of(block))
            after_attention, after_ffn = (MonaAdapter(checked_width(block, d), d, grid, prefix) for _ in range(2))
            wrapped = WithAdapters(block, after_ffn, after_attention)
            replace(model, path, wrapped.to(next(block.parameters())))

    def count(self, shape: Shape) -> int:
        d = self._bottleneck(shape.width)
        return 2 * shape.depth * (shape.width * (2 * d + 5) + d * d + 88 * d)

    def _bottleneck(self, width: int) -> int:
        return min(AUTHORS_BOTTLENECK, 2 * width // 3) if self.bottleneck is None else self.bottleneck
