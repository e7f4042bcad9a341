"""Partial-k: the last k blocks and the final norm are trained; k = 1 is the row "Partial-1".

Parameters: k (4 D^2 + 2 D H + 9 D + H) + 2 D: of each block qkv 3 D^2 + 3 D, proj D^2 + D, fc1 D H + H, fc2 D H + D,
two norms 4 D; and the final norm. ViT-B/16, k = 1: 7,089,408.

Source: Yosinski et al., arXiv 1411.1792, for the idea; as a row of VTAB tables, Jia et al. (VPT), arXiv 2203.12119,
table 1; KMnP/vpt at 4410440, src/models/vit_models.py ("partial-1", which trains the final norm too).

Differs from the paper: nothing that is trained; the recipe is the common one.
"""

from typing import ClassVar

from torch import nn

from aoft_bench.backbones.layout import block_paths, final_norm
from aoft_bench.config.fields import BlocksOrLast
from aoft_bench.methods.registry import Method, Shape, method


@method("partial")
class Partial(Method):
    """Options of partial fine-tuning. blocks: which are trained, as for other methods; a number k is the last k."""

    blocks: BlocksOrLast = 1

    source: ClassVar[str] = "arXiv 2203.12119 table 1; KMnP/vpt@4410440 src/models/vit_models.py"
    published: ClassVar[str] = "not printed; the last block and the final norm"
    mergeable: ClassVar[bool] = True

    def tunes(self, model: nn.Module) -> list[str]:
        return [*(f"{path}.*" for path, _ in block_paths(model)), f"{final_norm(model)}.*"]

    def count(self, shape: Shape) -> int:
        return self.chosen_shape(shape).of_blocks
