r"""Bi-AdaptFormer: AdaptFormer whose two matrices have one bit an entry.

    h + mlp(n(h)) + s relu(h Q(A)) Q(B)          h (..., D) the residual stream after attention, A (D, d), B (d, D),
                                                 s a number, n the block's own layer norm, Q as in bi_lora.py

There are no biases. A is drawn as in AdaptFormer, B with standard deviation 0.001, cut at two of them: Q keeps the
deviation of B, so B cannot start at zero, and training starts close to the pre-trained function and not at it.

Parameters: 2 L D d, trained in full precision. ViT-B/16, d = 32: 589,824. The paper counts what is stored instead, one
bit each and two floats a matrix: L (2 D d + 128) bits, 73,920 bytes there; its README prints 212.9 KB, this and the
full-precision head.

Source: Jie et al., ICCV 2023, arXiv 2307.16867; JieShibo/PETL-ViT at 026e4f1, binary_adapter/adaptformer.py and
utils.py. Its table has 77.0 for d = 32 on VTAB-1k, with images that are not normalised, and the authors' s for each
task (conf/hparams/bi_adaptformer).

Differs from the authors' code: no dropout (0.1 there) between the matrices; what is in bi_lora.py of the quantiser and
of what is saved.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.methods.adaptformer import insert_beside_feed_forward
from aoft_bench.methods.bi_lora import BinaryUpdate
from aoft_bench.methods.registry import Method, Shape, method


class BinaryBottleneck(nn.Module):
    """h (..., D) -> s relu(h Q(A)) Q(B); matrices: A (D, d) and B, which is kept transposed, (D, d)."""

    def __init__(self, width: int, bottleneck: int, scale: float) -> None:
        super().__init__()
        self.matrices = BinaryUpdate(width, width, bottleneck, scale)

    def forward(self, h: Tensor) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):  # the quantiser keeps full precision
            down, up = self.matrices.factors()
        return torch.relu(h @ down) @ up.T


@method("bi_adaptformer")
class BiAdaptFormer(Method):
    """Options of Bi-AdaptFormer. bottleneck: width d; scale: s."""

    bottleneck: Annotated[int, Field(ge=1)] = 32
    scale: Annotated[float, Field(gt=0)] = 1.0  # the authors' for 10 of the 19 tasks

    source: ClassVar[str] = (
        "arXiv 2307.16867, ICCV 2023; JieShibo/PETL-ViT@026e4f1 binary_adapter/adaptformer.py, utils.py"
    )
    published: ClassVar[str] = "tables count bits: 73,728 bytes at one bit each"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        def make(width: int) -> BinaryBottleneck:
            return BinaryBottleneck(width, self.bottleneck, self.scale)

        insert_beside_feed_forward(model, "bi_adaptformer", self.bottleneck, make)

    def count(self, shape: Shape) -> int:
        return shape.depth * 2 * shape.width * self.bottleneck
