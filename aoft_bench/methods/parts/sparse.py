"""Single weights of a frozen linear layer that are trained: the gradient is formed at their places only."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

# runs of trained weights: (rows, columns) int64; None: every row, in order
Places = Sequence[tuple[Tensor | None, Tensor]]


def sparse_linear(x: Tensor, weight: Tensor, bias: Tensor | None, values: Tensor, places: Places) -> Tensor:
    """y = x W^T + b, x (..., in), where W (out, in) holds what is trained already.

    Gradients flow to x, b and `values` (n), which are part of W at `places`, one run behind the other.
    """
    return _SparseLinear.apply(x, weight, bias, values, places)  # type: ignore[no-any-return]


class _SparseLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, values: Tensor, places: Places) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dtype, ctx.places = values.dtype, places
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad, tokens = grads[0].flatten(0, -2), x.flatten(0, -2)
        of_values = torch.cat(
            [((grad if rows is None else grad[:, rows]) * tokens[:, columns]).sum(0) for rows, columns in ctx.places]
        )
        of_x = (grad @ weight).view_as(x) if ctx.needs_input_grad[0] else None
        of_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return of_x, None, of_bias, of_values.to(ctx.dtype), None
