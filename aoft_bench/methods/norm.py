"""Norm tuning: weight and bias of every layer norm are trained, and nothing else.

    n(x) w + b  ->  n(x) w' + b'          n(x) the normalised token; w, b (D)

Parameters: L * 4 D + 2 D (two norms a block, and the final one). ViT-B/16: 38,400.

Source: Basu et al., arXiv 2304.03716, section 3 (LN-Tune); as a row of VTAB tables, "ln" of OSU-MLB/ViT_PEFT_Vision,
which counts 0.038 M.

Differs from the paper: nothing that is trained; the recipe is the common one.
"""

from typing import ClassVar

from torch import nn

from aoft_bench.backbones.layout import norm_paths
from aoft_bench.methods.registry import Method, Shape, method


@method("norm")
class Norm(Method):
    """Norm tuning has no options."""

    source: ClassVar[str] = "arXiv 2304.03716 section 3 (LN-Tune)"
    published: ClassVar[str] = "0.038 M"
    mergeable: ClassVar[bool] = True

    def tunes(self, model: nn.Module) -> list[str]:
        return [f"{path}.*" for path in norm_paths(model)]

    def count(self, shape: Shape) -> int:
        return shape.depth * 4 * shape.width + 2 * shape.width
