r"""Linear layers with a trained low-rank update, for every method of the form :math:`W + B A^\top`.

A method gives the two factors; this file does the forward pass, its backward pass and the merging for all of them.

Forward (merged): the weight :math:`W + B A^\top` is built once a call and the layer stays a single product, so no
extra pass over the activations is made. Backward: for tokens :math:`x` (T x in) and gradients :math:`g` (T x out),

.. math:: dA = x^\top (g B), \qquad dB = g^\top (x A), \qquad dx = g (W + B A^\top)

so the (out x in) gradient of the weight is never formed.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aoft_bench.methods.parts.blocks import Site
from aoft_bench.methods.parts.foldable import Foldable


class LowRank(nn.Module):
    """A trained update of one matrix. Subclasses give `factors`."""

    def factors(self) -> tuple[Tensor, Tensor]:
        """(A, B) with shapes (in, k) and (out, k); the update of the weight (out, in) is B A^T."""
        raise NotImplementedError(f"{type(self).__name__} must define factors()")

    def weight(self) -> Tensor:
        """The update B A^T, shape (out, in)."""
        a, b = self.factors()
        return b @ a.T


class AdaptedLinear(Foldable):
    """A frozen linear layer whose row slices carry `LowRank` updates.

    base: the frozen layer, weight (out, in); updates: name of a matrix ("q", "fc1", ...) -> its update;
    rows: the slice of output rows that each one acts on. Input (..., in), output (..., out).
    """

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.updates = nn.ModuleDict()
        self.rows: dict[str, slice] = {}

    def add(self, target: str, rows: slice, update: LowRank) -> None:
        self.updates[target] = update
        self.rows[target] = rows

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        with torch.autocast(device, enabled=False):  # the factors and the merged weight keep full precision
            factors = self.factors()
            weight = self.folded(factors).to(dtype)
        bias = None if self.base.bias is None else self.base.bias.to(dtype)
        flat = [f for pair in factors for f in pair]
        return _MergedLinear.apply(x.to(dtype), weight, bias, list(self.rows.values()), *flat)  # type: ignore[no-any-return]

    def factors(self) -> list[tuple[Tensor, Tensor]]:
        """(A, B) of every update, in the order of `rows`."""
        return [update.factors() for update in self.updates.values()]  # type: ignore[operator]

    @torch.no_grad()
    def folded(self, factors: list[tuple[Tensor, Tensor]]) -> Tensor:
        """A copy of the frozen weight (out, in) with the updates of these factors added to their rows."""
        weight = self.base.weight.clone()
        for part, (a, b) in zip(self.rows.values(), factors, strict=True):
            weight[part].addmm_(b, a.T)
        return weight

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer that computes the same: the update folded into a copy of the weight."""
        base = self.base
        # made on the meta device: no random numbers are drawn, so merging does not disturb the run's seeds
        layer = nn.Linear(base.in_features, base.out_features, base.bias is not None, device="meta")
        layer.weight = nn.Parameter(self.folded(self.factors()), requires_grad=False)
        if base.bias is not None:
            layer.bias = nn.Parameter(base.bias.detach().clone(), requires_grad=False)
        return layer.train(self.training)


def adapt(site: Site, target: str, update: LowRank) -> None:
    """Put `update` on the matrix at `site`; matrices of one fused layer share one `AdaptedLinear`."""
    layer = getattr(site.parent, site.attribute)
    if not isinstance(layer, AdaptedLinear):
        layer = AdaptedLinear(layer)
        setattr(site.parent, site.attribute, layer)
    layer.add(target, site.rows, update.to(layer.base.weight))


class _MergedLinear(torch.autograd.Function):
    """y = x W^T + b where W already holds the updates; gradients flow to x, to b and to the factors."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rows: list[slice], *factors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, *factors)
        ctx.rows = rows
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, weight, *factors = ctx.saved_tensors
        grad = grads[0].reshape(-1, weight.shape[0])
        tokens = x.reshape(-1, weight.shape[1])
        down = torch.cat([a.to(x.dtype) for a in factors[0::2]], dim=1)
        projected = (tokens @ down).split([a.shape[1] for a in factors[0::2]], dim=1)  # x A of every matrix at once
        back, out = [], []
        for part, z, b in zip(ctx.rows, projected, factors[1::2], strict=True):
            back.append(grad[:, part] @ b.to(x.dtype))
            out.append(grad[:, part].T @ z)
        to_down = (tokens.T @ torch.cat(back, dim=1)).split([a.shape[1] for a in factors[0::2]], dim=1)
        grads_in_order = [g for pair in zip(to_down, out, strict=True) for g in pair]
        of_factors = [g.to(f.dtype) for g, f in zip(grads_in_order, factors, strict=True)]
        of_x = (grad @ weight).view_as(x) if ctx.needs_input_grad[0] else None
        of_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return of_x, None, of_bias, None, *of_factors
