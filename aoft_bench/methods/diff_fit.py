r"""DiffFit: biases and norms are trained, and the output of every sublayer is scaled.

    x + g * attn(n(x)),   x + g * mlp(n(x))          x (..., D), g (D), one for each sublayer

Every bias and every layer norm of the backbone is trained as well. g starts at one, so training starts at the
pre-trained function. Biases, norms and g all fold away: g scales the rows of the last layer of its sublayer.

Parameters: L (7 D + H) + 2 D for the biases, 2 L D + D for the weights of the norms, 2 L D for g. ViT-B/16: 140,544
(0.141 M in OSU's table).

Source: Xie et al., ICCV 2023, arXiv 2304.06648, section 3.2; as a row of VTAB tables OSU-MLB/ViT_PEFT_Vision at
cea7e21, model/block.py and experiment/build_model.py (``difffit``). No code of the authors is public.

Differs from the paper: g is a vector as in OSU's code, one number in the paper; the class embedding that the paper
trains in diffusion models has no counterpart here.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from aoft_bench.backbones.layout import bias_patterns, block_paths, matrix_of, norm_paths
from aoft_bench.methods.parts.mergeable import Mergeable, plain_linear
from aoft_bench.methods.registry import Method, Shape, method


class ScaledOutput(Mergeable):
    """g * base(x): the output (..., D) of the frozen last linear layer of a sublayer, scaled by g (D).

    The bias of the layer is trained where it has one.
    """

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.gain = nn.Parameter(torch.ones(base.out_features).to(base.weight))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        # the gain keeps full precision under autocast: next to 1, bf16 has steps of 0.8 %
        return (self.gain * y).to(y.dtype)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        bias = None if self.base.bias is None else self.gain * self.base.bias
        return plain_linear(self.gain[:, None] * self.base.weight, bias, training=self.training)


@method("diff_fit")
class DiffFit(Method):
    """DiffFit has no options."""

    source: ClassVar[str] = "arXiv 2304.06648 section 3.2; OSU-MLB/ViT_PEFT_Vision@cea7e21 model/block.py"
    published: ClassVar[str] = "0.141 M"
    mergeable: ClassVar[bool] = True

    def tunes(self, model: nn.Module) -> list[str]:
        return [*bias_patterns(model), *(f"{path}.weight" for path in norm_paths(model))]

    def attach(self, model: nn.Module) -> None:
        for _, block in block_paths(model):
            for target in ("proj", "fc2"):
                matrix = matrix_of(block, target)
                matrix.replace_layer(ScaledOutput(matrix.layer))

    def count(self, shape: Shape) -> int:
        biases = shape.depth * (7 * shape.width + shape.hidden) + (1 + shape.from_pixels) * shape.width
        return biases + shape.depth * 4 * shape.width + shape.width
