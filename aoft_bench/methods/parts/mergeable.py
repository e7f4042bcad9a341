"""Modules that can be folded back into the backbone: base class of what stands in for one of its layers."""

import torch
from torch import Tensor, nn


class Mergeable(nn.Module):
    """Takes the place of a layer of the backbone, and computes that layer with an update. `Handle.merge` folds it.

    A method is ``mergeable`` exactly if everything it inserts is inside one of these.
    """

    def merged(self) -> nn.Module:
        """A new, frozen layer of the backbone's own class that computes the same, with the update in its weights.

        The layer that was replaced stays untouched. No random numbers may be drawn; `plain_linear` draws none.
        """
        raise NotImplementedError(f"{type(self).__name__} must define merged()")


def plain_linear(weight: Tensor, bias: Tensor | None, *, training: bool) -> nn.Linear:
    """A frozen linear layer with this weight (out, in) and bias (out)."""
    # made on the meta device: no random numbers are drawn, so merging does not disturb the run's seeds
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer.train(training)


def compute_dtype(x: Tensor) -> torch.dtype:
    """The type in which a layer computes on input `x`: autocast's where it is enabled, or that of `x`."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
