r"""Bi-LoRA: LoRA whose two matrices have one bit an entry.

    x (W + s Q(A) Q(B)^T) + b          x (..., in), W (in, out), A (in, r), B (out, r)

    Q(A) = mean(A) + std(A) c sign(A - mean(A)),   c = 0.6745, the upper quartile of the standard normal distribution

Each matrix has one mean and one standard deviation, recomputed from the trained full-precision A and B every step.
The gradient passes c sign(...) as if it were (A - mean) / (std + 1e-5), and flows through mean and std. Merging folds
the quantised update. A is drawn as in LoRA, B from a normal distribution of standard deviation 0.001, cut at 0.002:
Q(B) is never zero, so training does not start at the pre-trained function.

Parameters: L * r * sum over targets of (in + out), trained in full precision. ViT-B/16, r = 32, on q, v: 1,179,648.
The paper counts what is stored instead, one bit each and two floats a matrix: L * sum over targets of
(r (in + out) + 128) bits, 147,840 bytes there; its README prints 285.1 KB, this and the full-precision head.

Source: Jie et al., ICCV 2023, arXiv 2307.16867; behaviour read in the authors' code, JieShibo/PETL-ViT at 026e4f1,
binary_adapter/lora.py and the quantised layer in binary_adapter/utils.py.

Differs from the authors' code: no dropout (0.1 there) between A and B; an entry equal to the mean counts as above it
(theirs quantises it to the mean); the head keeps full precision (their first variant, not "Bi-Head"); 1 bit only; the
update is merged into the weight once a step instead of running beside it; state files keep A and B in full precision.
"""

import math
from dataclasses import field
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import Target
from aoft_bench.methods.parts.low_rank import LowRank, add_updates, grouped
from aoft_bench.methods.registry import Method, Shape, method

LEVEL = 0.6744897501960817  # the two levels of the 1-bit quantiser of a standard normal variable are -LEVEL and LEVEL
EPSILON = 1e-5


def binarize(weight: Tensor) -> Tensor:
    """Q of the text, of matrices (..., D, r): one of two values an entry of each; a straight-through gradient."""
    std, mean = torch.std_mean(weight, dim=(-2, -1), keepdim=True)
    normal = (weight - mean) / (std + EPSILON)
    level = LEVEL * torch.where(normal.detach() < 0, -1, 1).to(normal)
    # the difference is zero, and exactly so: the value is the level, the gradient is that of `normal`
    return (level + (normal - normal.detach())) * std + mean


class BinaryUpdate(LowRank):
    """A (in, r) and B (out, r); the update of the weight (out, in) is scale * Q(B) Q(A)^T."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.a = nn.Parameter(torch.empty(inputs, rank).uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs)))
        self.b = nn.Parameter(nn.init.trunc_normal_(torch.empty(outputs, rank), std=0.001, a=-0.002, b=0.002))

    @classmethod
    def build_factors_of(cls, updates: list[Any]) -> list[tuple[Tensor, Tensor]]:
        scale = updates[0].scale
        downs = grouped([u.a for u in updates], lambda a: a.shape, lambda a: binarize(torch.stack(a)).unbind())
        ups = grouped([u.b for u in updates], lambda b: b.shape, lambda b: (scale * binarize(torch.stack(b))).unbind())
        return list(zip(downs, ups, strict=True))


@method("bi_lora")
class BiLoRA(Method):
    """Options of Bi-LoRA. rank r; scale s of the update; targets: matrices of each block."""

    rank: Annotated[int, Field(ge=1)] = 32
    scale: Annotated[float, Field(gt=0)] = 10.0  # the authors' for 9 of the 19 tasks
    targets: Annotated[list[Target], Field(min_length=1)] = field(default_factory=lambda: ["q", "v"])

    source: ClassVar[str] = "arXiv 2307.16867, ICCV 2023; JieShibo/PETL-ViT@026e4f1 binary_adapter/lora.py, utils.py"
    published: ClassVar[str] = "tables count bits: 147,456 bytes at one bit each"
    mergeable: ClassVar[bool] = True
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        add_updates(model, self.targets, self.rank, lambda i, o: BinaryUpdate(i, o, self.rank, self.scale))

    def count(self, shape: Shape) -> int:
        return shape.depth * self.rank * sum(sum(shape.sides(target)) for target in self.targets)
