"""Linear layers and layer norms of which a part is trained: single weights, whole vectors, and a low-rank bottleneck
beside or behind a matrix."""

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear

from aoft_bench.methods.parts.mergeable import Mergeable, compute_dtype, plain_linear
from aoft_bench.methods.parts.sparse import sparse_linear

Form = Literal["lora", "adapter"]
WEIGHTS_AT_ONCE = 1024  # whose gradient is taken in one product, which bounds the memory


@dataclass(frozen=True)
class BottleneckOptions:
    """How bottlenecks are built. drop_path: rate at which the output of one is dropped for whole images."""

    form: Form
    rank: int
    drop_path: float


class Bottleneck(nn.Module):
    """inputs -> r -> outputs, zero at first; with GELU and biases in the form adapter. x (..., inputs)."""

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

    In `choice`: places (n), the single weights that are trained, in W laid flat; bias_places, those of the bias; tuned,
    which of the matrices have a bottleneck. reads_input: whether a bottleneck reads x, and not what its matrix gives;
    dropout: of what it reads.
    """

    places: Tensor
    bias_places: Tensor
    tuned: Tensor

    def __init__(
        self, base: nn.Linear, choice: dict[str, Tensor], options: BottleneckOptions, reads_input: bool, dropout: float
    ) -> None:
        super().__init__()
        self.base, self.reads_input, self.drop_path = base, reads_input, options.drop_path
        for name, value in choice.items():
            self.register_buffer(name, value)
        self.values, self.bias_values = (
            nn.Parameter(torch.zeros(len(found))) if len(found) else None for found in (self.places, self.bias_places)
        )
        outputs = base.out_features // len(self.tuned)
        inputs = base.in_features if reads_input else outputs
        of = [index for index, tuned in enumerate(self.tuned.tolist()) if tuned]
        self.bottlenecks = nn.ModuleDict({str(i): Bottleneck(inputs, outputs, options.rank, options.form) for i in of})
        self.dropout = nn.Dropout(dropout)

    def weight(self) -> Tensor:
        """W with its trained values (out, in); the bottlenecks are not in it."""
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
            runs = list(zip(torch.split(rows, WEIGHTS_AT_ONCE), torch.split(columns, WEIGHTS_AT_ONCE), strict=True))
            y = sparse_linear(x.to(dtype), weight, bias, self.values, runs)
        if not self.bottlenecks:
            return y
        dropped = self.dropout(x) if self.reads_input else x
        parts = list(y.chunk(len(self.tuned), dim=-1))
        for index, bottleneck in self.bottlenecks.items():
            part = parts[int(index)]
            added = bottleneck(dropped if self.reads_input else self.dropout(part))
            parts[int(index)] = part + self._with_drop_path(added).to(part.dtype)
        return torch.cat(parts, dim=-1)

    def _with_drop_path(self, added: Tensor) -> Tensor:
        """`added` (images, ...), in training zero for images that are drawn, and scaled up for the others."""
        if not self.training or not self.drop_path:
            return added
        mask = added.new_empty(len(added), *(1 for _ in added.shape[1:])).bernoulli_(1 - self.drop_path)
        return added * mask / (1 - self.drop_path)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        weight, bias = self.weight().clone(), self.bias()
        parts = weight.chunk(len(self.tuned))
        for index, bottleneck in self.bottlenecks.items():
            parts[int(index)].add_(bottleneck.up.weight @ bottleneck.down.weight)  # type: ignore[union-attr, operator]
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
