"""Whether tensors hold NaN or infinite values, of which no number of a record may come."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold a value that is NaN or infinite.

    Each tensor is read once, without a copy, and the device is waited for once.
    """
    named = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if not named:
        return []
    largest = torch.stack([torch.linalg.vector_norm(tensor, math.inf).double() for _, tensor in named])
    return [name for (name, _), finite in zip(named, largest.isfinite().tolist(), strict=True) if not finite]
