"""The matrices to measure: those of a backbone's blocks, and W_down and W_up of what a method inserted."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aoft_bench.backbones.layout import Target, block_paths, matrices_of
from aoft_bench.methods import Handle
from aoft_bench.utils.errors import UserError

Array = NDArray[np.float64]
Part = Literal["weight", "down", "up", "update"]
Vectors = Literal["columns", "rows"]


@dataclass(frozen=True)
class LayerMatrix:
    """One matrix in the convention of x W: shape (in, out), values in float64.
    layer: number of the block, from 0; name: q, k, v, proj, fc1, fc2, or where an adapter stands; part: a frozen
    weight, W_down (in, d), W_up (d, out), or the whole update. An update's values are a (k, k) matrix with the same
    singular values, since the (in, out) one is large and only its norms are of use."""

    layer: int
    name: str
    part: Part
    values: Array

    def vectors(self, which: Vectors) -> Array:
        """The columns (out vectors of length in) or the rows (in vectors of length out), as rows: (count, length)."""
        return self.values.T if which == "columns" else self.values


def backbone_matrices(model: nn.Module) -> list[LayerMatrix]:
    """W_q, W_k, W_v, W_o (`proj`), fc1 and fc2 of every block of a network that is not adapted."""
    found = []
    for layer, (_, block) in enumerate(block_paths(model)):
        for target in get_args(Target):
            for matrix in matrices_of(block, target):
                found.append(LayerMatrix(layer, matrix.name, "weight", _array(matrix.layer.weight[matrix.rows].T)))
    return found


def factor_matrices(handle: Handle) -> list[LayerMatrix]:
    """W_down, W_up and the update of every module that the method inserted; `UserError` if it has none, or NaNs."""
    # where an adapter wraps the whole block, the block's own path ends in .block
    blocks = [path.removesuffix(".block") for path, _ in block_paths(handle.model)]
    found = []
    for path, factors in handle.factors().items():
        layer = next(i for i, block in enumerate(blocks) if path.startswith(f"{block}."))
        # ...attn.qkv.updates.q -> q, ...mlp.adapter -> mlp, ...after_ffn -> after_ffn
        name = path.removesuffix(".adapter").rpartition(".")[2]
        a, b = (torch.linalg.qr(factor.detach().double(), mode="r").R for factor in factors.update)
        parts: dict[Part, Array] = {"down": _array(factors.down), "up": _array(factors.up), "update": _array(a @ b.T)}
        found += [LayerMatrix(layer, name, part, values) for part, values in parts.items()]
    if not found:
        raise UserError(f"{type(handle.method).__name__} inserted nothing that has W_down and W_up")
    if not all(np.isfinite(matrix.values).all() for matrix in found):
        raise UserError(
            "the trained parameters are not all finite: the run has diverged; repeat it with a lower recipe.lr"
        )
    return found


def _array(tensor: Tensor) -> Array:
    return tensor.detach().to("cpu", torch.float64).contiguous().numpy()
