"""BitFit: every bias of the backbone is trained, and nothing else.

    x W + b  ->  x W + b'          likewise the biases of the layer norms and of the patch embedding

Parameters: L (7 D + H) + 2 D: of each block qkv 3 D, proj D, fc1 H, fc2 D and two norms 2 D, and once the patch
embedding and the final norm. ViT-B/16: 102,912.

Source: Ben Zaken et al., arXiv 2106.10199, section 3; for vision transformers the row "Bias" of VPT, KMnP/vpt at
4410440, src/models/vit_models.py ("tinytl-bias").

Differs from the paper: nothing that is trained; the recipe is the common one. Tables print 0.10 M (without the head)
and 0.14 M (with the average head of VTAB-1k) for the same parameters.
"""

from typing import ClassVar

from torch import nn

from aoft_bench.backbones.layout import bias_patterns, block_paths
from aoft_bench.methods.registry import Method, Shape, method


@method("bitfit")
class BitFit(Method):
    """BitFit has no options."""

    source: ClassVar[str] = "arXiv 2106.10199 section 3; KMnP/vpt@4410440 src/models/vit_models.py"
    published: ClassVar[str] = "0.10 M; 0.14 M with the head"
    mergeable: ClassVar[bool] = True

    def tunes(self, model: nn.Module) -> list[str]:
        block_paths(model)  # refuses networks without transformer blocks
        return bias_patterns(model)

    def count(self, shape: Shape) -> int:
        return shape.depth * (7 * shape.width + shape.hidden) + (1 + shape.from_pixels) * shape.width
