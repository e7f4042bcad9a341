r"""Houlsby's adapters: a bottleneck after attention and one after the feed-forward part, and the layer norms trained.

    h + gelu(h A + a) B + b          h (..., D) the output of a sublayer before it is added to the residual stream,
                                     A (D, d), a (d), B (d, D), b (D)

``positions: ffn`` keeps only the second one; ``bias: false`` drops a and b; ``tune_norms: false`` keeps the layer norms
frozen. A is drawn from a normal distribution of standard deviation 0.01, cut at two of them; B, a and b start at zero,
so training starts at the pre-trained function.

Parameters: L * adapters a block * (2 D d, + d + D if bias), + 4 L D + 2 D if tune_norms. ViT-B/16, d = 8: 351,936, of
which the norms are 38,400; Adapter+ (arXiv 2406.06820) prints 0.39 M, which is this and its average head of 0.04 M
(without the norms it would be 0.35). d = 1 without biases and norms: 36,864, as many as Adapter+AOFT without lambda.

Source: Houlsby et al., arXiv 1902.00751, section 2.1 and figure 2; visinf/adapter_plus at 191c4ab, adapter_plus/
vit_adapter.py (``houlsby``), conf/experiment/ablations/other_configs/houlsby_dim8.yaml (``train_ln: true``).

Differs from the paper: B starts at zero (theirs is drawn as A is, near the identity); the adapter stands before layer
scale and drop path, where the backbone has them (in adapter_plus after both); no drop path of its own (adapter_plus:
0.1).
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import block_paths, checked_width, norm_paths
from aoft_bench.methods.adapter import bottleneck_factors
from aoft_bench.methods.parts.wrappers import insert_after
from aoft_bench.methods.registry import Factors, Method, Shape, method


class ResidualBottleneck(nn.Module):
    """h (..., D) -> h + gelu(n(h) A + a) B + b; n: a trained layer norm, or nothing; std: of A."""

    def __init__(self, width: int, bottleneck: int, *, std: float, bias: bool = True, norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6) if norm else nn.Identity()
        self.down, self.up = nn.Linear(width, bottleneck, bias), nn.Linear(bottleneck, width, bias)
        nn.init.trunc_normal_(self.down.weight, std=std, a=-2 * std, b=2 * std)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            if zero is not None:
                nn.init.zeros_(zero)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.up(torch.nn.functional.gelu(self.down(self.norm(h))))  # type: ignore[no-any-return]


@method("adapter_houlsby")
class AdapterHoulsby(Method):
    """Options of Houlsby's adapters. bottleneck: width d; positions, bias, tune_norms: as in the module's text."""

    bottleneck: Annotated[int, Field(ge=1)] = 8
    positions: Literal["both", "ffn"] = "both"
    bias: bool = True
    tune_norms: bool = True

    source: ClassVar[str] = "arXiv 1902.00751 figure 2; visinf/adapter_plus@191c4ab adapter_plus/vit_adapter.py"
    published: ClassVar[str] = "0.39 M with the head; layer norms are trained too"

    def tunes(self, model: nn.Module) -> list[str]:
        return [f"{path}.*" for path in norm_paths(model)] if self.tune_norms else []

    def attach(self, model: nn.Module) -> None:
        for _, block in block_paths(model):
            width = checked_width(block, self.bottleneck)
            for sublayer in ("attn", "mlp") if self.positions == "both" else ("mlp",):
                adapter = ResidualBottleneck(width, self.bottleneck, std=0.01, bias=self.bias)
                insert_after(block, sublayer, adapter)

    def count(self, shape: Shape) -> int:
        d, width = self.bottleneck, shape.width
        one = 2 * width * d + (d + width if self.bias else 0)
        norms = 4 * shape.depth * width + 2 * width if self.tune_norms else 0
        return shape.depth * (2 if self.positions == "both" else 1) * one + norms

    def factors(self, module: nn.Module) -> Factors | None:
        return bottleneck_factors(module) if isinstance(module, ResidualBottleneck) else None
