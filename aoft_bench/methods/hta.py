r"""HTA: an update of any rank from two Householder reflections and a diagonal, beside a low-rank one.

    x (W + H(v_left) diag(d) H(v_right) + A B^T) + b      x (..., in), W (in, out), v_left (in), v_right (out),
                                                          d (min(in, out)), A (in, k), B (out, k)

    H(v) = I - 2 v v^T / |v|^2           (normalize; without it H(v) = I - v v^T, the same where |v|^2 = 2)

For matrices that are not square, diag(d) is filled up with zeros to (in, out). On the output h of the attention or of
the feed-forward part (targets `mha`, `ffn`: the paper's alternative to the adapter) the same update is h (I + ...).

H(v_left) diag(d) H(v_right) is diag(d) and a matrix of rank 2, so the update is a diagonal and one of rank k + 2, and
no reflection is ever built. d and B start at zero, so training starts at the pre-trained function; A is drawn with
standard deviation 1/sqrt(in), v with length sqrt 2 in a random direction.

Parameters: L * sum over targets of (1 + k) (in + out) + min(in, out). ViT-B/16: 184,320 on q, k, v, proj with k = 1.
The paper's 0.22 M is this with the mean head of VTAB (38,045), as are its 0.15, 0.30 and 0.44 M for k = 0, 2 and 4;
its 0.09 M on q, v (92,160) and 0.05 M on ffn (46,080) are without the head. Its 0.28 M on q, v, fc1, fc2 are 276,480
if d is left out on fc1 and fc2; with it, as here, there are 294,912.

Source: Dong et al., NeurIPS 2024, arXiv 2410.22952, equations 3, 5, 6 and 7; no public repository.

Differs from the paper: it prints H(v) = I - v v^T and calls it orthogonal, which `normalize` makes it; that the four
matrices of its main table are q, k, v and proj, what is done where a matrix is not square, and the start are inferred
or ours, since it gives none of them; `mha` and `ffn` keep the residual h, as its folding requires; no dropout.
"""

from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aoft_bench.backbones.layout import Matrix, block_paths, check_rank, matrices_of
from aoft_bench.methods.parts.low_rank import LowRank, add_update, grouped
from aoft_bench.methods.parts.mergeable import Mergeable, plain_linear
from aoft_bench.methods.parts.merged_linear import AdaptedLinear, Transposed
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError

Position = Literal["q", "k", "v", "proj", "fc1", "fc2", "mha", "ffn"]
LAST_LAYER = {"mha": "proj", "ffn": "fc2"}  # the layer whose output is that of the sublayer


class HouseholderUpdate(LowRank):
    """Shapes in the module's text; `factors` give the update without diag(d), which is `diagonal`."""

    def __init__(self, inputs: int, outputs: int, extra_rank: int, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize
        self.left, self.right = nn.Parameter(_direction(inputs)), nn.Parameter(_direction(outputs))
        self.diagonal = nn.Parameter(torch.zeros(min(inputs, outputs)))
        self.a = self.b = None
        if extra_rank:
            self.a = nn.Parameter(inputs**-0.5 * torch.randn(inputs, extra_rank))
            self.b = nn.Parameter(torch.zeros(outputs, extra_rank))

    @classmethod
    def build_factors_of(cls, updates: list[Any]) -> list[tuple[Tensor, Tensor]]:
        return grouped(updates, lambda update: (len(update.left), len(update.right)), _factors)

    def weight(self) -> Tensor:
        weight = super().weight()
        torch.diagonal(weight).add_(self.diagonal)
        return weight


def _factors(updates: list[HouseholderUpdate]) -> list[tuple[Tensor, Tensor]]:
    """(A, B) of updates of one shape and with the same options."""
    # with H = I - c v v^T and E = diag(d):
    # H_left E H_right = E - c_left v_left (E^T v_left - c_right s v_right)^T - c_right (E v_right) v_right^T,
    # s = v_left^T E v_right
    first = updates[0]
    left, right, diagonal = (torch.stack([getattr(u, name) for u in updates]) for name in ("left", "right", "diagonal"))
    c_left, c_right = (2 / v.square().sum(-1, keepdim=True) if first.normalize else 1.0 for v in (left, right))
    n = diagonal.shape[-1]
    e_left = torch.nn.functional.pad(diagonal * left[:, :n], (0, right.shape[-1] - n))
    e_right = torch.nn.functional.pad(diagonal * right[:, :n], (0, left.shape[-1] - n))
    s = (left * e_right).sum(-1, keepdim=True)
    a = torch.stack([left, e_right], dim=-1)
    b = torch.stack([c_left * (c_right * s * right - e_left), -c_right * right], dim=-1)
    if first.a is not None:
        a = torch.cat([a, torch.stack([u.a for u in updates])], dim=-1)  # type: ignore[misc]
        b = torch.cat([b, torch.stack([u.b for u in updates])], dim=-1)  # type: ignore[misc]
    return list(zip(a, b, strict=True))


class HouseholderLinear(AdaptedLinear):
    """A frozen linear layer whose row slices carry `HouseholderUpdate`s: low-rank, and a diagonal each."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        diagonals = [update.diagonal for update in self.updates.values()]
        return _DiagonalGradient.apply(y, x.to(y.dtype), list(self.rows.values()), *diagonals)  # type: ignore[no-any-return]

    @torch.no_grad()
    def merged_weight(self, transposed: Transposed, dtype: torch.dtype) -> Tensor:
        weight = super().merged_weight(transposed, self.base.weight.dtype)
        for target, update in self.updates.items():
            torch.diagonal(weight[self.rows[target]]).add_(update.diagonal)  # type: ignore[arg-type]
        return weight.to(dtype)


class _DiagonalGradient(torch.autograd.Function):
    """y, whose weight holds diag(d) already, unchanged; gradients flow to each d: the sum over tokens of x times g."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, rows: list[slice], *diagonals: Tensor) -> Tensor:
        ctx.save_for_backward(x, *diagonals)
        ctx.rows = rows
        if y._is_view():
            return y.view_as(y)
        # without a bias of its own: timm adds those of q and v in place, which it could not to a view
        ctx.mark_dirty(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, *diagonals = ctx.saved_tensors
        tokens, grad = x.flatten(0, -2), grads[0].flatten(0, -2)
        out = [
            (tokens[:, : len(d)] * grad[:, part][:, : len(d)]).sum(0, dtype=d.dtype)
            for part, d in zip(ctx.rows, diagonals, strict=True)
        ]
        return grads[0], None, None, *out


class HouseholderOutput(Mergeable):
    """h (I + update) on the output h of a frozen linear layer, the last of its sublayer."""

    def __init__(self, base: nn.Linear, update: HouseholderUpdate) -> None:
        super().__init__()
        self.base, self.update = base, update.to(base.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.base(x)
        with torch.autocast(h.device.type, enabled=False):
            a, b = (factor.to(h.dtype) for factor in self.update.factors())
            return h + h * self.update.diagonal.to(h.dtype) + h @ a @ b.T  # type: ignore[no-any-return]

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        base, (a, b), d = self.base, self.update.factors(), self.update.diagonal
        weight = base.weight + d[:, None] * base.weight + b @ (a.T @ base.weight)
        bias = None if base.bias is None else base.bias + d * base.bias + b @ (a.T @ base.bias)
        return plain_linear(weight, bias, training=self.training)


@method("hta")
class HTA(Method):
    """Options of HTA. targets: matrices of each block, or outputs `mha` and `ffn`; extra_rank: k, the paper's D', 0
    for none; normalize: reflections that are exactly orthogonal."""

    targets: Annotated[list[Position], Field(min_length=1)] = field(default_factory=lambda: ["q", "k", "v", "proj"])
    extra_rank: Annotated[int, Field(ge=0)] = 1
    normalize: bool = True

    source: ClassVar[str] = "arXiv 2410.22952, NeurIPS 2024, equations 3, 5, 6, 7; no public repository"
    published: ClassVar[str] = "0.22 M with the head"
    mergeable: ClassVar[bool] = True

    def attach(self, model: nn.Module) -> None:
        for output, layer in LAST_LAYER.items():
            if output in self.targets and layer in self.targets:
                raise UserError(
                    f"method.targets: {output} is the output of {layer}, and only one of the two can be adapted; "
                    "leave one of them out"
                )
        for _, block in block_paths(model):
            for target in self.targets:
                for matrix in matrices_of(block, LAST_LAYER.get(target, target)):
                    self._insert(matrix, target)

    def _insert(self, matrix: Matrix, target: str) -> None:
        inputs = matrix.outputs if target in LAST_LAYER else matrix.inputs
        check_rank(self.extra_rank, inputs, matrix.outputs, target, option="method.extra_rank")
        update = HouseholderUpdate(inputs, matrix.outputs, self.extra_rank, self.normalize)
        if target in LAST_LAYER:
            matrix.replace_layer(HouseholderOutput(matrix.layer, update))
        else:
            add_update(matrix, update, HouseholderLinear)

    def count(self, shape: Shape) -> int:
        sides = [shape.sides(target) for target in self.targets]  # (D, D) for mha and ffn too
        return shape.depth * sum((1 + self.extra_rank) * sum(pair) + min(pair) for pair in sides)


def _direction(width: int) -> Tensor:
    """A random vector of length sqrt 2, where both forms of H agree."""
    v = torch.randn(width)
    return 2**0.5 * v / v.norm()
