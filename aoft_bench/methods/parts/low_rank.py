r"""Linear layers with a trained low-rank update, for every method of the form :math:`W + B A^\top`.

A method gives the two factors; this file does the forward pass, its backward pass and the merging for all of them.

Forward (merged): the weight :math:`W + B A^\top` is built once a step and the layer stays a single product, so no
extra pass over the activations is made. Backward: for tokens :math:`x` (T x in) and gradients :math:`g` (T x out),

.. math:: dA = x^\top (g B), \qquad dB = g^\top (x A), \qquad dx = g (W + B A^\top)

so the (out x in) gradient of the weight is never formed. The thin products are written with the short side first
(:math:`A^\top`, :math:`dB^\top = (x A)^\top g`): on a CPU BLAS takes two to five times as long for the other way round.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aoft_bench.backbones.layout import Site
from aoft_bench.methods.parts.mergeable import Foldable

T = TypeVar("T")
Tensors = TypeVar("Tensors")


class LowRank(nn.Module):
    """A trained update of one matrix. Subclasses give `factors`."""

    # set by `build_together` during a forward pass of the whole model
    together: tuple[Tensor, Tensor] | None = None

    def current(self) -> tuple[Tensor, Tensor]:
        """`factors`, as they were built together with those of others for this forward pass, or else by themselves."""
        return self.factors() if self.together is None else self.together

    def factors(self) -> tuple[Tensor, Tensor]:
        """(A, B) with shapes (in, k) and (out, k); the update of the weight (out, in) is B A^T."""
        raise NotImplementedError(f"{type(self).__name__} must define factors()")

    @classmethod
    def factors_of(cls, updates: list[Any]) -> list[tuple[Tensor, Tensor]]:
        """`factors` of many updates of this class. To be overridden where computing them together costs less."""
        return [update.factors() for update in updates]

    def weight(self) -> Tensor:
        """The update B A^T, shape (out, in)."""
        a, b = self.factors()
        return b @ a.T


def alike_together(
    many: list[T], key: Callable[[T], object], build: Callable[[list[T]], Iterable[Tensors]]
) -> list[Tensors]:
    """What `build` makes of those with the same key (a shape, say), a call for each key, in the order of `many`."""
    groups: dict[object, list[int]] = {}
    for index, one in enumerate(many):
        groups.setdefault(key(one), []).append(index)
    made: dict[int, Tensors] = {}
    for indices in groups.values():
        made |= zip(indices, build([many[index] for index in indices]), strict=True)
    return [made[index] for index in range(len(many))]


class Thin(NamedTuple):
    """The factors with the short side first, without gradients, in the dtype that is computed in.

    down (k, in): A^T of every update, one below the other; ups: B^T (r, out) of each.
    """

    down: Tensor
    ups: list[Tensor]

    @property
    def ranks(self) -> list[int]:
        return [len(up) for up in self.ups]


class Built(NamedTuple):
    """What a layer needs in a forward pass. factors: (A, B) of every update, with their gradients' way to the
    parameters; weight (out, in): with the updates, in the dtype that is computed in."""

    factors: list[tuple[Tensor, Tensor]]
    thin: Thin
    weight: Tensor


class AdaptedLinear(Foldable):
    """A frozen linear layer whose row slices carry `LowRank` updates.

    base: the frozen layer, weight (out, in); updates: name of a matrix ("q", "fc1", ...) -> its update;
    rows: the slice of output rows that each one acts on. Input (..., in), output (..., out).
    """

    # set by `build_together` during a forward pass of the whole model
    built: Built | None = None

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.updates = nn.ModuleDict()
        self.rows: dict[str, slice] = {}

    def add(self, target: str, rows: slice, update: LowRank) -> None:
        self.updates[target] = update
        self.rows[target] = rows

    def forward(self, x: Tensor) -> Tensor:
        dtype = _computed_in(x)
        if self.built is None:
            with torch.autocast(x.device.type, enabled=False):
                factors, thin, weight = self.build(dtype)
        else:
            factors, thin, weight = self.built
        bias = None if self.base.bias is None else self.base.bias.to(dtype)
        flat = [f for pair in factors for f in pair]
        return _MergedLinear.apply(x.to(dtype), weight, bias, list(self.rows.values()), thin, *flat)  # type: ignore[no-any-return]

    def build(self, dtype: torch.dtype) -> Built:
        """What a forward pass in `dtype` needs."""
        factors = self.factors()
        thin = thinned(factors, dtype)
        return Built(factors, thin, self.folded(thin, dtype))

    def factors(self) -> list[tuple[Tensor, Tensor]]:
        """(A, B) of every update, in the order of `rows`."""
        return [update.current() for update in self.updates.values()]  # type: ignore[operator]

    @torch.no_grad()
    def folded(self, thin: Thin, dtype: torch.dtype) -> Tensor:
        """A copy (out, in) of the frozen weight, in `dtype`, with the updates added to their rows.

        The sum is taken in the precision of the frozen weight and rounded once: bf16 has no room for most of what a
        small update adds to a single entry, but on average over entries it is kept.
        """
        frozen = self.base.weight
        weight = torch.empty_like(frozen, dtype=dtype)
        done = 0
        parts = zip(self.rows.values(), torch.split(thin.down, thin.ranks), thin.ups, strict=True)
        for part, down, up in sorted(parts, key=lambda one: one[0].start):
            weight[done : part.start].copy_(frozen[done : part.start])
            if dtype == frozen.dtype == down.dtype:
                torch.addmm(frozen[part], up.T, down, out=weight[part])
            else:
                torch.add(frozen[part], up.T @ down, out=weight[part])
            done = part.stop
        weight[done:].copy_(frozen[done:])
        return weight

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer that computes the same: the update folded into a copy of the weight."""
        base = self.base
        # made on the meta device: no random numbers are drawn, so merging does not disturb the run's seeds
        layer = nn.Linear(base.in_features, base.out_features, base.bias is not None, device="meta")
        dtype = base.weight.dtype
        layer.weight = nn.Parameter(self.folded(thinned(self.factors(), dtype), dtype), requires_grad=False)
        if base.bias is not None:
            layer.bias = nn.Parameter(base.bias.detach().clone(), requires_grad=False)
        return layer.train(self.training)


@torch.no_grad()
def thinned(factors: list[tuple[Tensor, Tensor]], dtype: torch.dtype) -> Thin:
    """`Thin` of (A, B) of every update of a layer."""
    ups = [b.T.contiguous() if b.dtype == dtype else b.new_empty(b.T.shape, dtype=dtype).copy_(b.T) for _, b in factors]
    return Thin(torch.cat([a.T for a, _ in factors]).to(dtype), ups)


def adapt(site: Site, target: str, update: LowRank) -> None:
    """Put `update` on the matrix at `site`; matrices of one fused layer share one `AdaptedLinear`."""
    layer = getattr(site.parent, site.attribute)
    if not isinstance(layer, AdaptedLinear):
        layer = AdaptedLinear(layer)
        setattr(site.parent, site.attribute, layer)
    layer.add(target, site.rows, update.to(layer.base.weight))


def build_together(model: nn.Module) -> None:
    """Let `model` build the factors of all its updates at the start of a forward pass, all of a kind at once
    (`LowRank.factors_of`), and the weights of its adapted layers, instead of each its own when it comes to it. The
    numbers are the same.

    Whoever calls a part of the model by itself gets the updates' own way.
    """
    if any(isinstance(module, LowRank) for module in model.modules()):
        model.register_forward_pre_hook(_build_all)
        model.register_forward_hook(_forget_all, always_call=True)


def _build_all(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    modules = list(model.modules())
    # where blocks are recomputed a layer runs again in the backward pass, and must do then what it did before
    if any(getattr(module, "grad_checkpointing", False) for module in modules):
        return
    kinds: dict[type[LowRank], list[LowRank]] = {}
    for module in modules:
        if isinstance(module, LowRank):
            kinds.setdefault(type(module), []).append(module)
    dtype = _computed_in(inputs[0])
    with torch.autocast(inputs[0].device.type, enabled=False):  # factors keep full precision
        for kind, updates in kinds.items():
            for update, factors in zip(updates, kind.factors_of(updates), strict=True):
                update.together = factors
        for module in modules:
            if isinstance(module, AdaptedLinear):
                module.built = module.build(dtype)


def _forget_all(model: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    for module in model.modules():
        if isinstance(module, LowRank):
            module.together = None
        elif isinstance(module, AdaptedLinear):
            module.built = None


def _computed_in(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def over_tokens(z: Tensor, g: Tensor) -> Tensor:
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
    """y = x W^T + b where W already holds the updates; gradients flow to x, to b and to the factors."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rows: list[slice], thin: Thin, *factors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, thin.down, *thin.ups)
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
            of_ups.append(over_tokens(z, grad[:, part]))  # dB^T
        of_downs = torch.split(over_tokens(torch.cat(back, dim=1), tokens), ranks)  # dA^T
        thin = [g for pair in zip(of_downs, of_ups, strict=True) for g in pair]
        of_factors = [g.T.to(dtype) for g, dtype in zip(thin, ctx.dtypes, strict=True)]
        of_x = (grad @ weight).view_as(x) if ctx.needs_input_grad[0] else None
        of_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return of_x, None, of_bias, None, None, *of_factors
