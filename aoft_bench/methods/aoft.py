r"""AOFT: approximately orthogonal fine-tuning in LoRA form.

One vector :math:`q = (q_0, p)` of the matrix's own width D generates a D x d matrix, the first d columns of

.. math::

    Q(q) = \begin{pmatrix} q_0 & -p^\top \\ p & I - c\,p p^\top \end{pmatrix}, \qquad c = \frac{1}{1 + q_0},

which is exactly orthogonal when :math:`\|q\|_2 = 1`; the norm is not enforced, hence "approximately".

    x (W + AO(q_down) diag(lambda) AO(q_up)^T) + b        x (..., in), W (in, out), q_down (in), q_up (out), lambda (d)

With ``learn_lambda`` this is AOFT-dagger, the default; without, lambda is 1 and is not trained.

Parameters: L * sum over targets of (in + out + d if learn_lambda). ViT-B/16: 36,864 on q, v (dagger 37,056); 129,024
on q, v, fc1, fc2 (dagger, d = 8: 129,408).

Source: Yang et al., ICCV 2025, arXiv 2507.13260; behaviour read in the authors' code, CalliopeYang/AOFT at 2ffd89c.

Differs from the authors' code: the frozen bias of adapted layers is kept (theirs is dropped); ``constant: paper``
(theirs, ``released``, is 1 / ((1 + q_0)^2 + 1)); ``init: zero`` starts at the pre-trained function (theirs,
``released``, does not); q_0 is trained everywhere (theirs is cut off from the gradient at entry (0, 0)); the update is
merged into the weight once a step instead of running beside it, which gives the same numbers.
"""

from dataclasses import field
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from aoft_bench.errors import UserError
from aoft_bench.methods.blocks import Target, block_paths, check_rank, site
from aoft_bench.methods.low_rank import LowRank, adapt
from aoft_bench.methods.registry import Shape, method

Constant = Literal["paper", "released"]
Init = Literal["zero", "released"]

# The paper's constant has a pole at q_0 = -1. Nearer to it than this, 1 + q_0 is held at this distance, its sign kept.
POLE_DISTANCE = 1e-3


def ao_constant(q: Tensor, constant: Constant) -> Tensor:
    """c of Q(q), a scalar tensor: 1 / (1 + q_0), guarded at its pole, or the authors' 1 / ((1 + q_0)^2 + 1)."""
    shifted = 1 + q[0]
    if constant == "released":
        return 1 / (shifted.square() + 1)
    held = torch.copysign(torch.full_like(shifted, POLE_DISTANCE), shifted)
    return 1 / torch.where(shifted.abs() < POLE_DISTANCE, held, shifted)


def ao_matrix(q: Tensor, d: int, constant: Constant = "paper") -> Tensor:
    """AO(q), the first d columns of Q(q). q (D) -> (D, d), 1 <= d <= D. Never forms the D x D matrix."""
    p = q[1:]
    upper = -p[None, : d - 1]
    lower = torch.eye(p.shape[0], d - 1, dtype=q.dtype, device=q.device)
    lower = lower - ao_constant(q, constant) * p[:, None] * p[None, : d - 1]
    return torch.cat([q[:, None], torch.cat([upper, lower], dim=0)], dim=1)


def ao_down(x: Tensor, q: Tensor, d: int, constant: Constant = "paper") -> Tensor:
    """x AO(q) with one dot product a token. x (..., D), q (D) -> (..., d)."""
    p = q[1:]
    s = x[..., 1:] @ p
    first = q[0] * x[..., 0] + s
    rest = x[..., 1:d] - p[: d - 1] * (x[..., 0] + ao_constant(q, constant) * s)[..., None]
    return torch.cat([first[..., None], rest], dim=-1)


def ao_up(z: Tensor, q: Tensor, constant: Constant = "paper") -> Tensor:
    """z AO(q)^T with one dot product a token. z (..., d), q (D) -> (..., D)."""
    d, p = z.shape[-1], q[1:]
    t = z[..., 1:] @ p[: d - 1]
    first = q[0] * z[..., 0] - t
    rest = p * (z[..., 0] - ao_constant(q, constant) * t)[..., None]
    rest = torch.cat([rest[..., : d - 1] + z[..., 1:], rest[..., d - 1 :]], dim=-1)
    return torch.cat([first[..., None], rest], dim=-1)


class AOPair(nn.Module):
    """The trained tensors of one AOFT update: q_down (D_in), q_up (D_out) and, for dagger, lambda (d).

    Without lambda the product of two orthonormal frames cannot be zero, so for ``init: zero`` the product at the
    starting point is remembered (as the two starting vectors) and subtracted.
    """

    q_down_start: Tensor | None
    q_up_start: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, rank: int, constant: Constant, init: Init, lambda_: Tensor | None
    ) -> None:
        if init == "released" and rank == 1:
            # both vectors start at zero and the one column is the vector itself, so every gradient is zero for good
            raise UserError(
                "method.rank=1 cannot be trained from method.init=released; use rank 2 or more, or init=zero"
            )
        super().__init__()
        self.rank, self.constant = rank, constant
        starts = [_unit(inputs), _unit(outputs)] if init == "zero" else [torch.zeros(inputs), torch.zeros(outputs)]
        self.q_down, self.q_up = nn.Parameter(starts[0].clone()), nn.Parameter(starts[1].clone())
        self.lambda_ = None if lambda_ is None else nn.Parameter(lambda_)
        subtracted = init == "zero" and lambda_ is None
        self.register_buffer("q_down_start", starts[0] if subtracted else None)
        self.register_buffer("q_up_start", starts[1] if subtracted else None)


class AOUpdate(AOPair, LowRank):
    """AOFT's update of one weight: A = AO(q_down) diag(lambda), B = AO(q_up)."""

    def factors(self) -> tuple[Tensor, Tensor]:
        a, b = ao_matrix(self.q_down, self.rank, self.constant), ao_matrix(self.q_up, self.rank, self.constant)
        if self.lambda_ is not None:
            return a * self.lambda_, b
        if self.q_down_start is None or self.q_up_start is None:
            return a, b
        start = (
            ao_matrix(self.q_down_start, self.rank, self.constant),
            ao_matrix(self.q_up_start, self.rank, self.constant),
        )
        return torch.cat([a, start[0]], dim=1), torch.cat([b, -start[1]], dim=1)


@method("aoft")
@dataclass(frozen=True)
class AOFT:
    """Options of LoRA+AOFT. rank: bottleneck d; targets: matrices of each block; the rest as in the module's text."""

    rank: Annotated[int, Field(ge=1)] = 8
    targets: Annotated[list[Target], Field(min_length=1)] = field(default_factory=lambda: ["q", "v", "fc1", "fc2"])
    learn_lambda: bool = True
    constant: Constant = "paper"
    init: Init = "zero"

    source: ClassVar[str] = "arXiv 2507.13260, ICCV 2025; CalliopeYang/AOFT@2ffd89c model/ViT_unitary_lora.py"
    mergeable: ClassVar[bool] = True

    @property
    def starts_at_backbone(self) -> bool:
        return self.init == "zero"

    def attach(self, model: nn.Module) -> None:
        for _, block in block_paths(model):
            for target in self.targets:
                here = site(block, target)
                check_rank(self.rank, here.inputs, here.outputs, target)
                lambda_ = torch.zeros(self.rank) if self.init == "zero" else torch.randn(self.rank)
                update = AOUpdate(
                    here.inputs,
                    here.outputs,
                    self.rank,
                    self.constant,
                    self.init,
                    lambda_ if self.learn_lambda else None,
                )
                adapt(here, target, update)

    def count(self, shape: Shape) -> int:
        extra = self.rank if self.learn_lambda else 0
        return shape.depth * sum(sum(shape.sides(target)) + extra for target in self.targets)


def _unit(width: int) -> Tensor:
    """A random point on the unit sphere, q_0 >= 0: the far side from the pole at q_0 = -1."""
    q = torch.randn(width)
    q[0] = q[0].abs()
    return q / q.norm()
