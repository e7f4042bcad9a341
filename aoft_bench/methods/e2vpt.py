r"""E2VPT: prompt tokens in the input of every block, as in VPT-Deep, and more in the keys and values of its attention.

    [x_i, _, E_i] = block_i([x_{i-1}, P_i, E_{i-1}])       P_i (n, D), x (prefix, D), E (patches, D) as in vpt_deep.py
    softmax(q [R_i, k]^T / sqrt(d)) [R_i, v]               R_i (heads, m, d) in every head, q, k, v (tokens, d)

Keys and values have the same R_i. P is drawn as in vpt_deep.py, R from U(-w, w), w = sqrt(6 / (m d)). Training does not
start at the pre-trained function.

Parameters: L (n + m) D. ViT-B/16, n = 10, m = 5: 138,240. The paper prints 0.32 % of the backbone on VTAB-1k (0.27 M),
with lengths that were chosen for each task (conf/hparams/e2vpt) and what pruning leaves of them.

Source: Han et al., ICCV 2023, arXiv 2307.13770, section 3.2; ChengHan111/E2VPT at 7a66e75,
src/models/vit_backbones/vit_changeVK.py and src/models/vit_prompt/vit_prompt_VK.py (``P_VK``); lengths in command.txt.

Differs from the paper: no pruning and rewinding (its section 3.3: whole prompts and sixteenths of them are masked by
their importance, and what is left is trained again). No dropout on P (theirs 0.1); AdamW with the common recipe
instead of SGD with tuned rates. The outputs of P are removed after each block, as in vpt_deep.py.
"""

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import (
    attend,
    block_paths,
    heads_of,
    matrix_of,
    replace,
    require_plain_attention,
    sublayer_path,
)
from aoft_bench.methods.parts.prompts import insert_prompts, prompts_of_vpt
from aoft_bench.methods.registry import Method, Shape, method


class PromptedAttention(nn.Module):
    """A frozen attention whose keys and values have `tokens` (heads, m, d) in front in every head."""

    def __init__(self, base: nn.Module, tokens: int, heads: int, width: int) -> None:
        super().__init__()
        self.base = base
        bound = math.sqrt(6 / (tokens * width))
        self.tokens = nn.Parameter(torch.empty(heads, tokens, width).uniform_(-bound, bound))

    def forward(self, x: Tensor, **attention: Any) -> Tensor:
        return attend(self.base, x, self.tokens, self.tokens, **attention)


@method("e2vpt")
class E2VPT(Method):
    """Options of E2VPT. prompts: tokens in the input of a block, n; key_prompts: tokens in its keys and values, m."""

    prompts: Annotated[int, Field(ge=1)] = 10
    key_prompts: Annotated[int, Field(ge=1)] = 5

    source: ClassVar[str] = (
        "arXiv 2307.13770, ICCV 2023; ChengHan111/E2VPT@7a66e75 src/models/vit_backbones/vit_changeVK.py"
    )
    published: ClassVar[str] = "0.32 % on VTAB (0.27 M): lengths chosen per task, and pruned (ours: 10 and 5)"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        for _, block in block_paths(model):
            require_plain_attention(block, "e2vpt")
            path, heads = sublayer_path(block, "attn"), heads_of(block, "e2vpt")
            width = matrix_of(block, "q").outputs // heads
            prompted = PromptedAttention(getattr(block, path), self.key_prompts, heads, width)
            replace(block, path, prompted.to(next(block.parameters())))
        insert_prompts(model, "e2vpt", self.prompts, prompts_of_vpt(model, self.prompts))

    def count(self, shape: Shape) -> int:
        return shape.depth * (self.prompts + self.key_prompts) * shape.width
