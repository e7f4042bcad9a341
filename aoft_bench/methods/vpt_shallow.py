r"""VPT-Shallow: n trained prompt tokens in the input of the first block.

    [x_1, Z_1, E_1] = block_1([x_0, P, E_0])                   x (prefix, D) class and register tokens, P (n, D) the
    [x_i, Z_i, E_i] = block_i([x_{i-1}, Z_{i-1}, E_{i-1}])     prompts, Z (n, D) their outputs, E (patches, D)

P is drawn from U(-v, v), v = sqrt(6 / (3 p^2 + D)) for patches of p x p pixels. Training does not start at the
pre-trained function, because attention sees the prompts.

Parameters: n D. ViT-B/16, n = 50: 38,400. Tables print 0.06, 0.08 and 0.11 M, averages over lengths n that were tuned
for each task; where the linear probe prints 0.04 M, the 0.11 M has the head in it.

Source: Jia et al., arXiv 2203.12119, section 3.2 (VPT-Shallow); KMnP/vpt at 4410440, src/models/vit_prompt/vit.py.

Differs from the paper: one length n for all tasks, unless ``prompts`` is set; no dropout on the prompts (off by
default in the authors' code, too); AdamW with the common recipe instead of SGD with tuned rates. Z_L is removed after
the last block, which gives the same numbers; average pooling then means the average over patches. Between the blocks
there are n tokens more than timm expects, so its ``forward_intermediates`` works for the last block only.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from aoft_bench.methods.parts.prompts import insert_prompts, prompts_of_vpt
from aoft_bench.methods.registry import Method, Shape, method


@method("vpt_shallow")
class VPTShallow(Method):
    """Options of VPT-Shallow. prompts: tokens, n."""

    prompts: Annotated[int, Field(ge=1)] = 50

    source: ClassVar[str] = "arXiv 2203.12119 section 3.2; KMnP/vpt@4410440 src/models/vit_prompt/vit.py"
    published: ClassVar[str] = "0.06 to 0.11 M: prompt lengths tuned per task, with and without the head"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        insert_prompts(model, "vpt_shallow", self.prompts, prompts_of_vpt(model, self.prompts), deep=False)

    def count(self, shape: Shape) -> int:
        return self.prompts * shape.width
