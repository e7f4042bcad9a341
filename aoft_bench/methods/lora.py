r"""LoRA: low-rank updates of attention and feed-forward matrices.

    x (W + s A B^T) + b,   s = alpha / rank          x (..., in), W (in, out), A (in, r), B (out, r)

A is drawn as in the authors' code (Kaiming uniform with a = sqrt 5, that is U(-1/sqrt(in), 1/sqrt(in))), B starts at
zero, so training starts at the pre-trained function.

Parameters: L * r * sum over targets of (in + out). ViT-B/16, r = 8, on q, v: 294,912.

Source: Hu et al., arXiv 2106.09685, equation 3; microsoft/LoRA at c4593f0, loralib/layers.py.

Differs from the paper: no dropout on the input of A (tables of this field use none); q, k and v are rows of timm's
fused layer; the update is merged into the weight once a step instead of running beside it.
"""

import math
from dataclasses import field
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import Target
from aoft_bench.methods.parts.low_rank import LowRank, add_updates
from aoft_bench.methods.registry import Factors, Method, Shape, method


class LoRAUpdate(LowRank):
    """A (in, r) and B (out, r); the update of the weight (out, in) is scale * B A^T."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.a = nn.Parameter(torch.empty(inputs, rank).uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs)))
        self.b = nn.Parameter(torch.zeros(outputs, rank))

    def build_factors(self) -> tuple[Tensor, Tensor]:
        return self.a, self.b if self.scale == 1 else self.b * self.scale


@method("lora")
class LoRA(Method):
    """Options of LoRA. rank r; alpha: numerator of the scale; targets: matrices of each block."""

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] = 8.0
    targets: Annotated[list[Target], Field(min_length=1)] = field(default_factory=lambda: ["q", "v"])

    source: ClassVar[str] = "arXiv 2106.09685; microsoft/LoRA@c4593f0 loralib/layers.py"
    published: ClassVar[str] = "0.29 M; 0.33 M with the head"
    mergeable: ClassVar[bool] = True

    def attach(self, model: nn.Module) -> None:
        add_updates(model, self.targets, self.rank, lambda i, o: LoRAUpdate(i, o, self.rank, self.alpha / self.rank))

    def count(self, shape: Shape) -> int:
        return shape.depth * self.rank * sum(sum(shape.sides(target)) for target in self.targets)

    def factors(self, module: nn.Module) -> Factors | None:
        return Factors(module.a, module.b.T, module.factors()) if isinstance(module, LoRAUpdate) else None
