r"""SynQT: queries that a small network makes for each block ask its tokens; what they find is combined and classified.

    p_l = F_l(Q_l + s q_{l-1})                                                       l = 1 ... L,  q_0 = 0
    p_l = p_l + a_l attention_l(n(p_l));   p_l = p_l + f_l M_l(n(p_l))
    g_l = attn(n1(p_l) asks n1(x_{l-1}));   m_l = mlp(n2(p_l + g_l));   q_l = mean(p_l + g_l + m_l)
    x_l = block_l(x_{l-1})
    e_j = c_j + R(n(c_j)),   c = (q_L, q_1 ... q_L, mean(g_1) ... mean(g_L), mean(m_1) ... mean(m_L))
    output: n(mean_j(w_j e_j)),   w_1 = 1,  w_j = tanh(gelu(e_1 U + u))_j

Q_l (n, D) is drawn from U(-1, 1); F, M and R are x + gelu(x A + a) B + b, 48 wide; attention_l is that of one head on
the queries (layer norms in front, such bottlenecks of 8 in the place of its four matrices). Keys and values of attn are
those of x (B, N, D) alone, as in VQT: x is what the backbone computes, and no gradient goes through it. s, a_l, f_l are
numbers that are trained. The last norm n starts as the backbone's own, eps is 1e-5. In training a tenth of the values
of the queries and inside F, M, R, attention and w are dropped, and e_j, but for the first, for 0.3 of the images.

Parameters: L (n D + 4 A(8) + 2 A(48) + 7 D + 2) + A(48) + 4 D + 3 L (D + 1) + 1,  A(r) = 2 r D + r + D. ViT-B/16,
n = 4: 2,622,829.

Source: Zhang et al., arXiv 2407.06964; taolinzhang/SynQT at 15f3292, synqt.py.

Differs from the code: what it makes and never uses (twelve layer norms, 37 weights) is left out, and the bias b of
the keys, which the softmax cancels.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import gelu

from aoft_bench.backbones.layout import feed_forward_branch, queried_branch, replace, width_of
from aoft_bench.config.fields import Positive
from aoft_bench.methods.parts.prompts import Prompts
from aoft_bench.methods.parts.side import Carried, blocks_to_ask
from aoft_bench.methods.registry import Method, Shape, method

WIDE, NARROW = 48, 8  # hidden values of the bottlenecks
DROPPED, OF_IMAGES = 0.1, 0.3


class Bottleneck(nn.Module):
    """x (..., D) -> x + gelu(x A + a) B + b; bias: whether there is b."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.up(self.dropout(gelu(self.down(x)))))  # type: ignore[no-any-return]


class Synthesis(nn.Module):
    """The queries of a block (B, n, D), made of its own and of what those of the block before found (B, 1, D)."""

    def __init__(self, width: int, queries: int, attention_scale: float, ffn_scale: float) -> None:
        super().__init__()
        self.own, self.enter = Prompts(queries, width, 1.0), Bottleneck(width, WIDE, DROPPED)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_norm, self.kv_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.v, self.proj = (Bottleneck(width, NARROW) for _ in range(3))
        self.k = Bottleneck(width, NARROW, bias=False)  # the softmax would cancel it
        self.leave = Bottleneck(width, WIDE, DROPPED)
        self.attention_scale = nn.Parameter(torch.tensor([attention_scale]))
        self.ffn_scale = nn.Parameter(torch.tensor([ffn_scale]))
        self.dropout = nn.Dropout(DROPPED)

    def forward(self, images: int, found: Tensor | None) -> Tensor:
        p = self.own().expand(images, -1, -1)
        p = self.enter(p if found is None else p + found)
        inner = self.norm1(p)
        keys = self.kv_norm(inner)
        scores = self.q(self.q_norm(inner)) @ self.k(keys).mT / inner.shape[-1] ** 0.5
        mixed = self.dropout(scores.softmax(dim=-1)) @ self.v(keys)
        p = p + self.dropout(self.proj(mixed)) * self.attention_scale
        return self.dropout(p + self.leave(self.norm2(p)) * self.ffn_scale)  # type: ignore[no-any-return]


class SynthesisBlock(nn.Module):
    """A frozen block with its queries: x or (x, c of the blocks before) -> (x', c), c (B, 3 l, D) = q, g, m of each.

    scale: s, shared by all blocks; None for a single one, which has none before it. last: after the last block c is
    given on as tokens.
    """

    def __init__(self, block: nn.Module, make: Synthesis, scale: nn.Parameter | None, last: bool) -> None:
        super().__init__()
        self.block, self.make, self.last = block, make, last
        self.scale = scale

    def forward(self, carried: Carried, **attention: Any) -> Carried:
        x, before = carried if isinstance(carried, tuple) else (carried, None)
        found = before[:, -3:-2] * self.scale if before is not None and self.scale is not None else None
        p = self.make(len(x), found).to(x.dtype)
        attended = queried_branch(self.block, p, x)
        fed = feed_forward_branch(self.block, p + attended)
        c = torch.stack([one.mean(1) for one in (p + attended + fed, attended, fed)], dim=1)
        c = c if before is None else torch.cat([before, c], dim=1)
        with torch.no_grad():
            x = self.block(x, **attention)
        return c if self.last else (x, c)


class Combination(nn.Module):
    """What the head reads, of c (B, 3 L, D): one token (B, 1, D)."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.norm, self.refine = nn.LayerNorm(width), Bottleneck(width, WIDE, DROPPED)
        self.weigh, self.out_norm = nn.Linear(width, 3 * blocks), nn.LayerNorm(width)
        self.dropout = nn.Dropout(DROPPED)

    def forward(self, c: Tensor) -> Tensor:
        c = c.unflatten(1, (-1, 3)).transpose(1, 2).flatten(1, 2)  # type: ignore[no-untyped-call]
        c = torch.cat([c[:, c.shape[1] // 3 - 1, None], c], dim=1)
        e = c + self.refine(self.norm(c))
        weights = self.dropout(gelu(self.weigh(e[:, 0]))).tanh()
        if self.training:
            weights = weights * torch.empty_like(weights).bernoulli_(1 - OF_IMAGES) / (1 - OF_IMAGES)
        sums = e[:, 0] + (weights[:, :, None] * e[:, 1:]).sum(1)
        return self.out_norm(sums / e.shape[1])[:, None]  # type: ignore[no-any-return]


@method("synqt")
class SynQT(Method):
    """Options of SynQT. queries: n in each block; found_scale, attention_scale, ffn_scale: where s, a, f start."""

    queries: Annotated[int, Field(ge=1)] = 4
    found_scale: Positive = 0.1
    attention_scale: Positive = 0.1
    ffn_scale: Positive = 0.1

    source: ClassVar[str] = "arXiv 2407.06964; taolinzhang/SynQT@15f3292 synqt.py"
    published: ClassVar[str] = "not read: 1, 4 or 16 queries for each task (ours: 4)"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        blocks, final = blocks_to_ask(model, "synqt")
        width, norm = width_of(blocks[0][1]), model.get_submodule(final)
        scale = nn.Parameter(torch.tensor([self.found_scale]).to(next(blocks[0][1].parameters())))
        for index, (path, block) in enumerate(blocks, 1):
            make = Synthesis(width, self.queries, self.attention_scale, self.ffn_scale)
            made = SynthesisBlock(block, make.to(scale), scale if len(blocks) > 1 else None, index == len(blocks))
            replace(model, path, made.train(block.training))
        combination = Combination(width, len(blocks)).to(scale).train(norm.training)
        combination.out_norm.load_state_dict(norm.state_dict())
        replace(model, final, combination)

    def count(self, shape: Shape) -> int:
        width, depth = shape.width, shape.depth
        wide, narrow = (2 * hidden * width + hidden + width for hidden in (WIDE, NARROW))
        of_block = self.queries * width + 4 * narrow + 2 * wide + 7 * width + 2
        return depth * of_block + wide + 4 * width + 3 * depth * (width + 1) + (depth > 1)
