r"""DTL: a low-rank trunk beside the blocks collects what they read, and is added back from the middle on.

    h_l = h_{l-1} + x_l A_l B_l;   x_{l+1} = block_l(x_l)            for l < M
    h_l = h_{l-1} + x_l A_l B_l;   x_{l+1} = block_l(x_l) + t(h_l)   for l >= M     t(h) = h * sigmoid(beta h)

x, h (B, N, D), h_0 = 0, A_l (D, r), B_l (r, D). A is drawn from U(-1/sqrt(D), 1/sqrt(D)) and B starts at zero, so
training starts at the pre-trained function. The blocks up to M run without gradients: the backward pass of the backbone
is that of the blocks after M, which read what was added. DTL+ (``fusion``) puts one depth-wise convolution of k x k
without bias, shared by all blocks, on the patches of t(h), as an image.

Parameters: L * 2 D r, and D k^2 with ``fusion``. ViT-B/16, r = 2: 36,864; with k = 3: 43,776.

Source: Fu, Zhu, Wu, arXiv 2312.07856 (AAAI 2024); heekhero/DTL at bf6c51e,
models/vision_transformer.py.

Differs from the code: it classifies the mean of the patches behind the last norm, whatever the network was trained
with; here the backbone's own pooling stays (the class token of ViT-B/16). No mix-up and no average of weights, which
are off by default there.
"""

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from aoft_bench.backbones.layout import (
    block_paths,
    checked_width,
    patch_grid,
    prefix_tokens,
    replace,
    require,
    require_neighbours,
)
from aoft_bench.methods.parts.side import Carried
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError


class Trunk(nn.Module):
    """x (..., D) -> x A B; A (D, r), B (r, D)."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(width, rank).uniform_(-1 / math.sqrt(width), 1 / math.sqrt(width)))
        self.up = nn.Parameter(torch.zeros(rank, width))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.down @ self.up


class Fusion(nn.Module):
    """A depth-wise convolution over the patches (B, prefix + h w, D), on their grid (h, w); prefix tokens stay."""

    def __init__(self, width: int, size: int, prefix: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, size, groups=width, bias=False)
        # as padding="same" does, which warns of even sizes
        self.padding = ((size - 1) // 2, size // 2) * 2
        self.prefix, self.grid = prefix, grid

    def forward(self, tokens: Tensor) -> Tensor:
        patches = tokens[:, self.prefix :].mT.reshape(len(tokens), -1, *self.grid)
        return torch.cat([tokens[:, : self.prefix], self.conv(pad(patches, self.padding)).flatten(2).mT], dim=1)


class DTLBlock(nn.Module):
    """A frozen block beside its part of the trunk: (x, h) -> (x', h'), or x' after the last block.

    writes: whether t(h') is added to x'; fusion: what acts on t(h') first, shared by all blocks.
    """

    def __init__(self, block: nn.Module, trunk: Trunk, beta: float, writes: bool, last: bool) -> None:
        super().__init__()
        self.block, self.trunk = block, trunk
        self.beta, self.writes, self.last = beta, writes, last
        self.fusion: nn.Module = nn.Identity()

    def forward(self, carried: Carried, **attention: Any) -> Carried:
        x, h = carried if isinstance(carried, tuple) else (carried, None)
        step = self.trunk(x)
        h = step if h is None else h + step
        # nothing trained is before the first block that is written back
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            x = self.block(x, **attention)
        if self.writes:
            x = x + self.fusion(h * torch.sigmoid(self.beta * h))
        return x if self.last else (x, h)


@method("dtl")
class DTL(Method):
    """Options of DTL. rank: r; write_from: M, counted from 1, null for the second half of the blocks (7 of 12);
    beta: of t; fusion: side k of DTL+'s convolution, 0 for none."""

    rank: Annotated[int, Field(ge=1)] = 2
    write_from: Annotated[int, Field(ge=1)] | None = None
    beta: Annotated[float, Field(gt=0)] = 100.0
    fusion: Annotated[int, Field(ge=0)] = 0

    source: ClassVar[str] = "arXiv 2312.07856; heekhero/DTL@bf6c51e models/vision_transformer.py"
    published: ClassVar[str] = "0.04 M (36,864) at r = 2; DTL+ 0.05 M"

    def attach(self, model: nn.Module) -> None:
        blocks = block_paths(model)
        require_neighbours(model, "dtl", to_the_end=True)
        first = len(blocks) // 2 + 1 if self.write_from is None else self.write_from
        if first > len(blocks):
            raise UserError(
                f"method.write_from is too large: got {first}, but the network has {len(blocks)} blocks; give 1 to "
                f"{len(blocks)}, or null for their second half"
            )
        for _, block in blocks:
            require(block, "dtl", "sequence")
        width = checked_width(blocks[0][1], self.rank, "method.rank")
        fusion: nn.Module = nn.Identity()
        if self.fusion:
            fusion = Fusion(width, self.fusion, prefix_tokens(model, "dtl"), patch_grid(model, "dtl"))
        for index, (path, block) in enumerate(blocks, 1):
            made = DTLBlock(block, Trunk(width, self.rank), self.beta, index >= first, index == len(blocks))
            if made.writes:
                made.fusion = fusion
            replace(model, path, made.to(next(block.parameters())))

    def count(self, shape: Shape) -> int:
        return shape.depth * 2 * shape.width * self.rank + shape.width * self.fusion**2
