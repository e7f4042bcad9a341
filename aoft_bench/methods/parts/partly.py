"""Layers of which single weights, whole vectors, and a low-rank module beside or behind a matrix are trained."""

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear

from aoft_bench.methods.parts.mergeable import Mergeable, compute_dtype, plain_linear
from aoft_bench.methods.parts.sparse import sparse_linear

Form = Literal["lora", "adapter"]
AT_ONCE = 1024  # single weights whose gradient is taken in one product, which bounds the memory


@dataclass(frozen=True)
class Module:
    """What a low-rank module is like. drop_path: rate at which its output is dropped for whole images."""

    form: Form
    rank: int
    drop_path: float


class Narrow(nn.Module):
    """The module m beside a matrix: inputs -> r -> outputs, with GELU and biases in the form adapter."""

    def __init__(self, inputs: int, outputs: int, rank: int, form: Form) -> None:
        super().__init__()
        self.form = form
        self.down = nn.Linear(inputs, rank, bias=form == "adapter")
        self.up = nn.Linear(rank, outputs, bias=form == "adapter")
        nn.init.zeros_(self.up.weight)
        if form == "adapter":
            nn.init.zeros_(self.down.bias)
            nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return self.up(gelu(x) if self.form == "adapter" else x)  # type: ignore[no-any-return]


class TunedLinear(Mergeable):
    """A linear layer (..., in) -> (..., out) of one matrix, or of q, k and v one below the other.

    places (n): the single weights that are trained, in W laid flat; bias_places: those of the bias; tuned: which of the
    matrices have a module. beside: whether these read x and not what the matrix gives; dropout: of what they read.
    """

    places: Tensor
    bias_places: Tensor
    tuned: Tensor

    def __init__(
        self, base: nn.Linear, choice: dict[str, Tensor], module: Module, beside: bool, dropout: float
    ) -> None:
        super().__init__()
        self.base, self.beside, self.drop_path = base, beside, module.drop_path
        for name, value in choice.items():
            self.register_buffer(name, value)
        self.values, self.bias_values = (
            nn.Parameter(torch.zeros(len(found))) if len(found) else None for found in (self.places, self.bias_places)
        )
        outputs = base.out_features // len(self.tuned)
        inputs = base.in_features if beside else outputs
        marked = [index for index, tuned in enumerate(self.tuned.tolist()) if tuned]
        self.narrow = nn.ModuleDict({str(i): Narrow(inputs, outputs, module.rank, module.form) for i in marked})
        self.dropout = nn.Dropout(dropout)

    def weight(self) -> Tensor:
        """W with its trained values (out, in); the modules are not in it."""
        weight = self.base.weight
        return (
            weight if self.values is None else weight.flatten().index_add(0, self.places, self.values).view_as(weight)
        )

    def bias(self) -> Tensor | None:
        bias: Tensor | None = self.base.bias
        if bias is None or self.bias_values is None:
            return bias
        return bias.index_add(0, self.bias_places, self.bias_values)

    def forward(self, x: Tensor) -> Tensor:
        dtype, bias = compute_dtype(x), self.bias()
        with torch.no_grad():
            weight = self.weight().to(dtype)
        bias = None if bias is None else bias.to(dtype)
        if self.values is None:
            y = linear(x.to(dtype), weight, bias)
        else:
            rows, columns = self.places // weight.shape[1], self.places % weight.shape[1]
            runs = list(zip(torch.split(rows, AT_ONCE), torch.split(columns, AT_ONCE), strict=True))
            y = sparse_linear(x.to(dtype), weight, bias, self.values, runs)
        if not self.narrow:
            return y
        dropped = self.dropout(x) if self.beside else x
        parts = list(y.chunk(len(self.tuned), dim=-1))
        for index, narrow in self.narrow.items():
            part = parts[int(index)]
            added = narrow(dropped if self.beside else self.dropout(part))
            parts[int(index)] = part + self._kept(added).to(part.dtype)
        return torch.cat(parts, dim=-1)

    def _kept(self, added: Tensor) -> Tensor:
        """`added` (images, ...), in training zero for images that are drawn, and scaled up for the others."""
        if not self.training or not self.drop_path:
            return added
        mask = added.new_empty(len(added), *(1 for _ in added.shape[1:])).bernoulli_(1 - self.drop_path)
        return added * mask / (1 - self.drop_path)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        weight, bias = self.weight().clone(), self.bias()
        parts = weight.chunk(len(self.tuned))
        for index, narrow in self.narrow.items():
            parts[int(index)].add_(narrow.up.weight @ narrow.down.weight)  # type: ignore[union-attr, operator]
        return plain_linear(weight, None if bias is None else bias.clone(), training=self.training)


class TunedNorm(Mergeable):
    """A layer norm with what is added to its weight and bias. tuned (2): which of the two are trained."""

    tuned: Tensor

    def __init__(self, base: nn.LayerNorm, tuned: Tensor) -> None:
        super().__init__()
        self.base = base
        self.register_buffer("tuned", tuned)
        of_weight, of_bias = tuned.tolist()
        self.weight = nn.Parameter(torch.zeros(base.weight.shape)) if of_weight else None
        self.bias = nn.Parameter(torch.zeros(base.weight.shape)) if of_bias else None

    def _sums(self) -> tuple[Tensor, Tensor | None]:
        base: Any = self.base
        weight = base.weight if self.weight is None else base.weight + self.weight
        return weight, base.bias if self.bias is None else base.bias + self.bias

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.base.normalized_shape, *self._sums(), self.base.eps)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        layer = copy.deepcopy(self.base).requires_grad_(False)
        for parameter, value in zip((layer.weight, layer.bias), self._sums(), strict=True):
            if parameter is not None and value is not None:
                parameter.copy_(value)
        return layer.train(self.training)
