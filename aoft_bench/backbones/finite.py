"""Whether tensors hold NaN or infinite values, of which no number of a record may come."""

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
    # a minimum or maximum is NaN if any value is; of all ways to ask this is the quickest on a CPU
    extremes = torch.stack([extreme for _, tensor in named for extreme in torch.aminmax(tensor)])
    finite = extremes.isfinite().view(-1, 2).all(dim=1).tolist()
    return [name for (name, _), fine in zip(named, finite, strict=True) if not fine]
