r"""qGOFT: GOFT with any 2 x 2 matrices in the place of rotations, and a penalty that keeps their columns orthogonal.

    x R W + b,   R = P_n ... P_2 P_1                  as in goft.py; in the plane of a pair P is G = [p, q], 2 x 2

    loss + penalty * sum over all pairs of all matrices of (p . q)^2

Every G starts as the identity, so training starts at the pre-trained function. R folds into the weight; training runs
with R W, whose gradient is formed (goft.py).

Parameters: 4 L * sum over targets of (in - 1). ViT-B/16: 73,632 on q and v (the paper: 0.073 M), 331,488 on all six.

Source: Ma et al., ICML 2024, arXiv 2404.04316, equations 5 and 6, algorithm 1 and table 9 (penalty 0.001 on VTAB-1k);
ArthurLeoM/peft-givens at 0fe813e, tuners/givens/layer.py (``strict_oft`` false).

Differs from the authors' code: it has no penalty, which the paper has. What the repository's present code does is in
goft.py.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.methods.base import Trained
from aoft_bench.methods.goft import GOFT, Pairs
from aoft_bench.methods.registry import Shape, method


class QuasiRotations(Pairs):
    """Any 2 x 2 matrices, blocks (inputs - 1, 2, 2)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.blocks = nn.Parameter(torch.eye(2).repeat(inputs - 1, 1, 1))

    def forward(self) -> Tensor:
        return self.blocks.flatten(1).T

    def penalty(self) -> Tensor:
        """Sum of the squared inner products of the two columns of each matrix."""
        first, second = self.blocks.unbind(dim=2)
        return (first * second).sum(dim=1).square().sum()


@method("qgoft")
class QGOFT(GOFT):
    """Options of qGOFT. targets: matrices of each block; penalty: factor of the sum of (p . q)^2 in the loss."""

    penalty: Annotated[float, Field(ge=0)] = 1e-3

    source: ClassVar[str] = "arXiv 2404.04316, ICML 2024, equation 5; ArthurLeoM/peft-givens@0fe813e"
    published: ClassVar[str] = "0.073 M, which is q and v"
    pairs: ClassVar[type[Pairs]] = QuasiRotations

    def loss(self, handle: Trained, images: Tensor, labels: Tensor) -> Tensor:
        loss = handle.objective.cross_entropy(handle.model(images), labels)
        pairs = [module for module in handle.model.modules() if isinstance(module, QuasiRotations)]
        penalty = self.penalty * torch.stack([one.penalty() for one in pairs]).sum()
        return loss + handle.objective.mean(penalty.expand(len(labels)), labels)

    def count(self, shape: Shape) -> int:
        return 4 * super().count(shape)
