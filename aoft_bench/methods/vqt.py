r"""VQT: in every block trained queries sum up the tokens, and a wider head reads all of them; the backbone stays.

    p_l = block_l(P_l asks x_{l-1});   x_l = block_l(x_{l-1})                                      l = 1 ... L
    the head reads [u(cls), u(p_1), ..., u(p_L)],   u(h) = h / |h|

P_l (n, D) goes through block l beside the tokens x (B, N, D): in attention it asks, keys and values are those of x
alone, so x is what the backbone computes. cls (D) is the class token behind the last norm, p_l (n D) are the n outputs
of a block, one behind the other. P_l is drawn as in VPT, from U(-v, v), v = sqrt(6 / (3 patch^2 + D)), and single
values of it are dropped in training (``dropout``). The head has (1 + L n) D inputs, of which those of p start at zero.
No gradient goes through x. Training does not start at the pre-trained function.

Parameters: L n D, and C (1 + L n) D + C in the head of C classes. ViT-B/16, n = 1: 9,216, the head reads 9,984 numbers.

Source: Tu, Mai, Chao, arXiv 2212.03220 (CVPR 2023), section 3; andytu28/VQT at 9bca87e,
src/models/vit_backbones/h2t_vit.py and src/models/build_h2t_model.py.

Differs from the code: the head starts at zero, theirs at random weights and a bias of -4.6. Its second stage is left
out, which keeps a part of the head's inputs (0.7 of them where n = 1) and trains the head again. The rates of its
search (Adam, 0.025 to 0.5) are for features of length one: far above those of other methods.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from aoft_bench.backbones.layout import feed_forward_branch, queried_branch, replace, widen_head, width_of
from aoft_bench.config.fields import Unit
from aoft_bench.methods.parts.prompts import Prompts, prompts_of_vpt
from aoft_bench.methods.parts.side import Carried, blocks_to_ask
from aoft_bench.methods.registry import Method, Shape, method


class QueryBlock(nn.Module):
    """A frozen block with queries beside its tokens: x or (x, p of the blocks before) -> (x', p), p (B, l n, D).

    last: after the last block, the class token and p are given on as tokens (B, 1 + L n, D).
    """

    def __init__(self, block: nn.Module, queries: Prompts, dropout: float, last: bool) -> None:
        super().__init__()
        self.block, self.queries, self.last = block, queries, last
        self.dropout = nn.Dropout(dropout)

    def forward(self, carried: Carried, **attention: Any) -> Carried:
        x, before = carried if isinstance(carried, tuple) else (carried, None)
        p = self.dropout(self.queries().to(x.dtype).expand(len(x), -1, -1))
        p = p + queried_branch(self.block, p, x)
        p = p + feed_forward_branch(self.block, p)
        p = p if before is None else torch.cat([before, p], dim=1)
        with torch.no_grad():
            x = self.block(x, **attention)
        return torch.cat([x[:, :1], p], dim=1) if self.last else (x, p)


class Concatenated(nn.Module):
    """The class token behind the last norm and what the queries of each block found, all of length one, as one wide
    token: (B, 1 + L n, D) -> (B, 1, (1 + L n) D). queries: n."""

    def __init__(self, norm: nn.Module, queries: int) -> None:
        super().__init__()
        self.norm, self.queries = norm, queries

    def forward(self, tokens: Tensor) -> Tensor:
        of_class = normalize(self.norm(tokens[:, :1]).flatten(1))
        of_blocks = tokens[:, 1:].unflatten(1, (-1, self.queries)).flatten(2)  # type: ignore[no-untyped-call]
        return torch.cat([of_class, normalize(of_blocks, dim=2).flatten(1).to(of_class.dtype)], dim=1)[:, None]


@method("vqt")
class VQT(Method):
    """Options of VQT. queries: n in each block; dropout: rate at which values of the queries are dropped."""

    queries: Annotated[int, Field(ge=1)] = 1
    dropout: Unit = 0.1

    source: ClassVar[str] = "arXiv 2212.03220; andytu28/VQT@9bca87e src/models/vit_backbones/h2t_vit.py"
    published: ClassVar[str] = "not read: 1, 10 or 20 queries for each task (ours: 1), and the wider head"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        blocks, final = blocks_to_ask(model, "vqt")
        make = prompts_of_vpt(model, self.queries)
        for index, (path, block) in enumerate(blocks, 1):
            made = QueryBlock(block, make(width_of(block)), self.dropout, index == len(blocks))
            replace(model, path, made.to(next(block.parameters())).train(block.training))
        replace(model, final, Concatenated(model.get_submodule(final), self.queries))
        widen_head(model, width_of(blocks[0][1]) * (1 + len(blocks) * self.queries))

    def count(self, shape: Shape) -> int:
        return shape.depth * self.queries * shape.width

    def head_inputs(self, shape: Shape) -> int:
        return shape.width * (1 + shape.depth * self.queries)
