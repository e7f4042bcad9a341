r"""Adapter+AOFT: approximately orthogonal adapters on the residual stream of every block.

    h + n(h) AO(q_down) diag(lambda) AO(q_up)^T

h (..., D): the residual stream after attention, and after the feed-forward part; q_down, q_up (D); lambda (d); AO as
in aoft.py.

No activation and no bias. ``positions: both`` puts one after attention and one after the feed-forward part,
``ffn`` only the second. n is a layer norm without trained weights (``norm: layernorm``, as the authors' code does) or
nothing (``norm: none``, the formula of the paper).

Parameters: L * adapters a block * (2 D if learn_q, + d if learn_lambda). ViT-B/16: two a block 36,864 (dagger, d = 8:
37,056); FFN only 18,432 (18,528).

Source: Yang et al., ICCV 2025, arXiv 2507.13260; behaviour read in the authors' code, CalliopeYang/AOFT at 2ffd89c,
model/ViT_unitary_adapter.py.

Differs from the authors' code: ``constant: paper``, ``init: zero`` and a trained q_0, as in aoft.py, which has the
options that take theirs.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from aoft_bench.backbones.layout import block_paths, checked_width, replace, require
from aoft_bench.methods.aoft import AOUpdate, PairOptions
from aoft_bench.methods.parts.wrappers import WithAdapters
from aoft_bench.methods.registry import Shape, method


class AOAdapter(AOUpdate):
    """h (..., D) -> h + n(h) AO(q_down) diag(lambda) AO(q_up)^T."""

    def __init__(self, width: int, rank: int, norm: bool, **options: Any) -> None:
        super().__init__(width, width, rank, **options)
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False) if norm else nn.Identity()

    def forward(self, h: Tensor) -> Tensor:
        a, b = self.factors()
        return h + self.norm(h) @ a @ b.T  # type: ignore[no-any-return]


@method("aoft_adapter")
class AOFTAdapter(PairOptions):
    """Options of Adapter+AOFT. positions, norm: as in the module's text; the rest as in `PairOptions`."""

    positions: Literal["both", "ffn"] = "both"
    norm: Literal["layernorm", "none"] = "layernorm"

    source: ClassVar[str] = "arXiv 2507.13260, ICCV 2025; CalliopeYang/AOFT@2ffd89c model/ViT_unitary_adapter.py"
    published: ClassVar[str] = "0.06 M on VTAB and 0.20 M on FGVC: 18,528 (`method.positions=ffn`) and the head"

    def attach(self, model: nn.Module) -> None:
        self.check()
        for path, block in block_paths(model):
            require(block, "aoft_adapter", "tokens")
            if self.positions == "both":
                require(block, "aoft_adapter", "sequence", advice="use method.positions=ffn or a plain ViT")
            width = checked_width(block, self.rank, "method.rank")
            made = [self._adapter(width).to(next(block.parameters())) for _ in range(self._per_block)]
            replace(model, path, WithAdapters(block, *made))

    def count(self, shape: Shape) -> int:
        return shape.depth * self._per_block * (2 * shape.width * self.learn_q + self.rank * self.learn_lambda)

    @property
    def _per_block(self) -> int:
        return 2 if self.positions == "both" else 1

    def _adapter(self, width: int) -> AOAdapter:
        lambda_ = torch.rand(self.rank) if self.init == "released" else torch.zeros(self.rank)
        return AOAdapter(width, self.rank, self.norm == "layernorm", **self.update_options(lambda_))
