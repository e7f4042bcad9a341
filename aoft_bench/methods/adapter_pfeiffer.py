r"""Pfeiffer's adapter: a bottleneck with its own layer norm on the residual stream after every block.

    h + gelu(n(h) A + a) B + b       h (..., D) the residual stream after the feed-forward part was added,
                                     n a layer norm with trained weight w (D) and bias c (D),
                                     A (D, d), a (d), B (d, D), b (D)

A is drawn from a normal distribution of standard deviation 0.02, cut at two of them; B, a, b and c start at zero and w
at one, so training starts at the pre-trained function.

It is not `adapter`, the row of NOAH's tables: that one reads the feed-forward part's own output, which has not been
added back yet, and has no norm.

Parameters: L * (2 D d + d + 3 D). ViT-B/16, d = 8: 175,200, of which the norms are 18,432; Adapter+ (arXiv 2406.06820)
prints 0.21 M, which is this and its average head of 0.04 M.

Source: Pfeiffer et al., arXiv 2005.00247 (AdapterFusion); for vision transformers visinf/adapter_plus at 191c4ab,
adapter_plus/vit_adapter.py (``pfeiffer``), conf/experiment/ablations/other_configs/pfeiffer.yaml.

Differs from the paper: BERT normalises after the sum, and its own layer norms stand around the adapter; a pre-norm ViT
has none there, so, as in adapter_plus, the adapter brings one. Differs from adapter_plus: B starts at zero (theirs is
drawn as A is, not cut) and there is no drop path of its own (theirs 0.1); their two skip connections, one around the
adapter and one around the feed-forward part, are the one sum above.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from aoft_bench.backbones.layout import block_paths, checked_width, replace, require
from aoft_bench.methods.adapter_houlsby import ResidualBottleneck
from aoft_bench.methods.parts.wrappers import WithAdapters
from aoft_bench.methods.registry import Method, Shape, method


@method("adapter_pfeiffer")
class AdapterPfeiffer(Method):
    """Options of Pfeiffer's adapter. bottleneck: width d."""

    bottleneck: Annotated[int, Field(ge=1)] = 8

    source: ClassVar[str] = "arXiv 2005.00247; visinf/adapter_plus@191c4ab adapter_plus/vit_adapter.py"
    published: ClassVar[str] = "0.21 M with the head"

    def attach(self, model: nn.Module) -> None:
        for path, block in block_paths(model):
            require(block, "adapter_pfeiffer", "tokens")
            width = checked_width(block, self.bottleneck)
            adapter = ResidualBottleneck(width, self.bottleneck, std=0.02, norm=True)
            replace(model, path, WithAdapters(block, adapter.to(next(block.parameters()))))

    def count(self, shape: Shape) -> int:
        d, width = self.bottleneck, shape.width
        return shape.depth * (2 * width * d + d + 3 * width)
