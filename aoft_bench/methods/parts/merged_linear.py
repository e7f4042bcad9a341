r"""Linear layers that run with low-rank updates merged into their weight, forward and backward.

Forward: the weight :math:`W + B A^\top` is built once a step and the layer stays a single product, so that no extra
pass over the activations is made. Backward: for tokens :math:`x` (T x in) and gradients :math:`g` (T x out),

.. math:: dA = x^\top (g B), \qquad dB = g^\top (x A), \qquad dx = g (W + B A^\top)

so that the (out x in) gradient of the weight is never formed. The narrow products are written with the short side first
(:math:`A^\top`, :math:`dB^\top = (x A)^\top g`): on a CPU BLAS takes two to five times as long for the other way round.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aoft_bench.methods.parts.mergeable import Mergeable, compute_dtype, plain_linear


class Transposed(NamedTuple):
    """The factors of a layer's updates, transposed, without gradients, in the dtype of the computation.
    down (k, in): A^T of all updates, one below the other; ups: B^T (r, out) of each."""

    down: Tensor
    ups: list[Tensor]


class Merged(NamedTuple):
    """What a layer needs in a forward pass. factors: (A, B) of every update, part of the autograd graph; weight
    (out, in): the frozen one plus the updates, in the dtype of the computation."""

    factors: list[tuple[Tensor, Tensor]]
    transposed: Transposed
    weight: Tensor


class AdaptedLinear(Mergeable):
    """A frozen linear layer whose row slices carry `LowRank` updates. Input (..., in), output (..., out).

    base: the frozen layer, weight (out, in); updates: name of a matrix ("q", "fc1", ...) -> its update;
    rows: the slice of output rows that each one acts on.
    """

    # set by step_hooks.py during a forward pass of the whole model
    prebuilt: Merged | None = None

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.updates = nn.ModuleDict()
        self.rows: dict[str, slice] = {}

    def add(self, target: str, rows: slice, update: nn.Module) -> None:
        self.updates[target] = update
        self.rows[target] = rows

    def forward(self, x: Tensor) -> Tensor:
        dtype = compute_dtype(x)
        if self.prebuilt is None:
            with torch.autocast(x.device.type, enabled=False):
                factors, transposed, weight = self.build(dtype)
        else:
            factors, transposed, weight = self.prebuilt
        bias = self.bias()
        bias = None if bias is None else bias.to(dtype)
        flat = [factor for pair in factors for factor in pair]
        return _MergedLinear.apply(x.to(dtype), weight, bias, list(self.rows.values()), transposed, *flat)  # type: ignore[no-any-return]

    def build(self, dtype: torch.dtype) -> Merged:
        """What a forward pass in `dtype` needs."""
        factors = self.factors()
        transposed = transpose(factors, dtype)
        return Merged(factors, transposed, self.merged_weight(transposed, dtype))

    def factors(self) -> list[tuple[Tensor, Tensor]]:
        """(A, B) of every update, in the order of `rows`."""
        return [update.factors() for update in self.updates.values()]  # type: ignore[operator]

    @torch.no_grad()
    def merged_weight(self, transposed: Transposed, dtype: torch.dtype) -> Tensor:
        """A copy (out, in) of the frozen weight, in `dtype`, with the updates added to their rows.

        The sum is taken in the precision of the frozen weight and rounded once: bf16 has no room for most of what a
        small update adds to a single entry, but on average over entries it is kept.
        """
        frozen = self.base.weight
        weight = torch.empty_like(frozen, dtype=dtype)
        done = 0
        downs = torch.split(transposed.down, [len(up) for up in transposed.ups])
        parts = zip(self.rows.values(), downs, transposed.ups, strict=True)
        for part, down, up in sorted(parts, key=lambda one: one[0].start):
            weight[done : part.start].copy_(frozen[done : part.start])
            if dtype == frozen.dtype == down.dtype:
                torch.addmm(frozen[part], up.T, down, out=weight[part])
            else:
                torch.add(frozen[part], up.T @ down, out=weight[part])
            done = part.stop
        weight[done:].copy_(frozen[done:])
        return weight

    def bias(self) -> Tensor | None:
        """The bias of the layer, (out), if it has one."""
        return self.base.bias

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        dtype, bias = self.base.weight.dtype, self.bias()
        weight = self.merged_weight(transpose(self.factors(), dtype), dtype)
        return plain_linear(weight, None if bias is None else bias.detach().clone(), training=self.training)


@torch.no_grad()
def transpose(factors: list[tuple[Tensor, Tensor]], dtype: torch.dtype) -> Transposed:
    """`Transposed` of (A, B) of every update of a layer."""
    ups = [b.T.contiguous() if b.dtype == dtype else b.new_empty(b.T.shape, dtype=dtype).copy_(b.T) for _, b in factors]
    return Transposed(torch.cat([a.T for a, _ in factors]).to(dtype), ups)


def sum_over_tokens(z: Tensor, g: Tensor) -> Tensor:
    """z^T g, the sum over tokens: z (T, k), g (T, D) -> (k, D).

    On a CPU the threads share runs of tokens. BLAS would divide D among them and copy all of g first, which takes 2.2
    against 1.3 ms for fc1 of ViT-B with 8 images.
    """
    runs = math.gcd(len(z), 8) if z.device.type == "cpu" else 1
    if runs == 1:
        return z.T @ g
    z, g = (t.view(runs, -1, t.shape[1]) for t in (z, g))
    return torch.bmm(z.mT, g).sum(0)


class _MergedLinear(torch.autograd.Function):
    """y = x W^T + b where W holds the updates; gradients flow to x, to b and to the factors."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: list[slice],
        transposed: Transposed,
        *factors: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, transposed.down, *transposed.ups)
        ctx.rows, ctx.dtypes = rows, [factor.dtype for factor in factors]
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, weight, down, *ups = ctx.saved_tensors
        ranks = [len(up) for up in ups]
        grad = grads[0].reshape(-1, weight.shape[0])
        tokens = x.reshape(-1, weight.shape[1])
        back, of_ups = [], []
        for part, up, z in zip(ctx.rows, ups, (tokens @ down.T).split(ranks, dim=1), strict=True):  # z = x A
            back.append(grad[:, part] @ up.T)  # g B
            of_ups.append(sum_over_tokens(z, grad[:, part]))  # dB^T
        of_downs = torch.split(sum_over_tokens(torch.cat(back, dim=1), tokens), ranks)  # dA^T
        transposed = [g for pair in zip(of_downs, of_ups, strict=True) for g in pair]
        of_factors = [g.T.to(dtype) for g, dtype in zip(transposed, ctx.dtypes, strict=True)]
        of_x = (grad @ weight).view_as(x) if ctx.needs_input_grad[0] else None
        of_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return of_x, None, of_bias, None, None, *of_factors
