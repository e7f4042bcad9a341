r"""VPT-Deep: n trained prompt tokens in the input of every block.

    [x_i, _, E_i] = block_i([x_{i-1}, P_i, E_{i-1}])       x (prefix, D) class and register tokens, P_i (n, D) prompts,
                                                           E (patches, D); _ the outputs of the prompts, dropped

P is drawn from U(-v, v), v = sqrt(6 / (3 p^2 + D)) for patches of p x p pixels. Training does not start at the
pre-trained function, because attention sees the prompts.

Parameters: L n D. ViT-B/16, n = 50: 460,800. Tables print 0.53, 0.56 and 0.60 M, averages over lengths n of 1 to 200
that were tuned for each task; where the linear probe prints 0.04 M, the 0.60 M has the head in it.

Source: Jia et al., arXiv 2203.12119, section 3.2 (VPT-Deep); KMnP/vpt at 4410440, src/models/vit_prompt/vit.py.

Differs from the paper: one length n for all tasks, unless ``prompts`` is set; no dropout on the prompts (off by
default in the authors' code, too; NOAH and Adapter+ use 0.1); AdamW with the common recipe instead of SGD with tuned
rates. The outputs of the prompts are removed after each block, the last one included, which gives the same numbers;
average pooling then means the average over patches.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from aoft_bench.methods.parts.prompts import insert_prompts, prompts_of_vpt
from aoft_bench.methods.registry import Method, Shape, method


@method("vpt_deep")
class VPTDeep(Method):
    """Options of VPT-Deep. prompts: tokens a block, n."""

    prompts: Annotated[int, Field(ge=1)] = 50

    source: ClassVar[str] = "arXiv 2203.12119 section 3.2; KMnP/vpt@4410440 src/models/vit_prompt/vit.py"
    published: ClassVar[str] = "0.53 to 0.60 M: prompt lengths tuned per task (ours: 50), with and without the head"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        insert_prompts(model, "vpt_deep", self.prompts, prompts_of_vpt(model, self.prompts))

    def count(self, shape: Shape) -> int:
        return shape.depth * self.prompts * shape.width
