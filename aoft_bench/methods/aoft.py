r"""AOFT: approximately orthogonal fine-tuning in LoRA form.

One vector :math:`q = (q_0, p)` of the matrix's own width D generates a D x d matrix, the first d columns of

.. math::

    Q(q) = \begin{pmatrix} q_0 & -p^\top \\ p & I - c\,p p^\top \end{pmatrix}, \qquad c = \frac{1}{1 + q_0},

which is exactly orthogonal when :math:`\|q\|_2 = 1`; the norm is not enforced, hence "approximately".

    x (W + AO(q_down) diag(lambda) AO(q_up)^T) + b        x (..., in), W (in, out), q_down (in), q_up (out), lambda (d)

With ``learn_lambda`` this is AOFT-dagger, the default; without, lambda is 1 and is not trained.

Parameters: L * sum over targets of (in + out if learn_q, + d if learn_lambda). ViT-B/16: 36,864 on q, v (dagger
37,056); 129,024 on q, v, fc1, fc2 (dagger, d = 8: 129,408).

Source: Yang et al., ICCV 2025, arXiv 2507.13260; behaviour read in the authors' code, CalliopeYang/AOFT at 2ffd89c.

The default takes the authors' constant, 1 / ((1 + q_0)^2 + 1), and their start, q = 0 and lambda ~ N(0, 1), which is
not the pre-trained function: this was best on val200 of five packs (docs/aoft.md). ``constant: paper`` is the formula
above; ``init: zero`` starts at the pre-trained function.

Differs from the authors' code, each by an option (``method=aoft_released`` takes theirs; docs/aoft.md says what
each is worth): the frozen bias of adapted matrices is kept (``keep_bias: false`` drops it); q_0 is trained everywhere
(``detach_q0: true`` cuts it off from the gradient at entry (0, 0)); ``orthogonal``, ``learn_q``, ``lambda_lr`` and
``lambda_decay`` are ours; the update is merged into the weight once a step instead of running beside it, which gives
the same numbers.
"""

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from aoft_bench.backbones.layout import Target, matrices
from aoft_bench.config.fields import added
from aoft_bench.methods.parts.low_rank import LowRank, add_updates, grouped
from aoft_bench.methods.registry import Factors, Method, Shape, method
from aoft_bench.utils.errors import UserError

Constant = Literal["paper", "released"]
Init = Literal["zero", "axes", "released"]

# The paper's constant has a pole at q_0 = -1. Nearer to it than this, 1 + q_0 is held at this distance, its sign kept.
POLE_DISTANCE = 1e-3


def ao_constant(q: Tensor, constant: Constant) -> Tensor:
    """c of Q(q), q (..., D) -> (...): 1 / (1 + q_0), guarded at its pole, or the authors' 1 / ((1 + q_0)^2 + 1)."""
    shifted = 1 + q[..., 0]
    if constant == "released":
        return 1 / (shifted.square() + 1)
    held = torch.copysign(torch.full_like(shifted, POLE_DISTANCE), shifted)
    return 1 / torch.where(shifted.abs() < POLE_DISTANCE, held, shifted)


def ao_matrix(q: Tensor, d: int, constant: Constant = "paper", detach_q0: bool = False) -> Tensor:
    """AO(q), the first d columns of Q(q). q (..., D) -> (..., D, d), 1 <= d <= D. Never forms the D x D matrix.

    Column 0 is q, and column j is e_j - q_j (1, c p): one outer product for all of them. detach_q0: no gradient flows
    to q_0 from entry (0, 0); what is left to it is that of c.
    """
    ones = torch.ones_like(q[..., :1])
    first = torch.cat([ones, ao_constant(q, constant)[..., None] * q[..., 1:]], dim=-1)
    units = torch.eye(d, q.shape[-1], dtype=q.dtype, device=q.device)[1:]
    others = units - q[..., 1:d, None] * first[..., None, :]
    zeroth = torch.cat([q[..., :1].detach(), q[..., 1:]], dim=-1) if detach_q0 else q
    return torch.cat([zeroth[..., None, :], others], dim=-2).mT


class AOUpdate(LowRank):
    """The vectors of one AOFT update: q_down (D_in), q_up (D_out) and, for dagger, lambda (d).

    inputs, outputs: D_in and D_out; rank: d; the rest as in `PairOptions`. Without lambda the product of two
    orthonormal frames cannot be zero, so unless ``init: released`` the product at the starting point is remembered
    (as the two starting vectors) and subtracted.
    """

    q_down: Tensor
    q_up: Tensor
    q_down_start: Tensor | None
    q_up_start: Tensor | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rank: int,
        *,
        constant: Constant,
        init: Init,
        lambda_: Tensor | None,
        learn_q: bool = True,
        orthogonal: bool = False,
        detach_q0: bool = False,
    ) -> None:
        super().__init__()
        self.rank, self.constant, self.orthogonal, self.detach_q0 = rank, constant, orthogonal, detach_q0
        subtracted = init != "released" and lambda_ is None
        for name, start in (("q_down", start_vector(inputs, init)), ("q_up", start_vector(outputs, init))):
            if learn_q:
                self.register_parameter(name, nn.Parameter(start.clone()))
            else:
                self.register_buffer(name, start.clone())
            self.register_buffer(f"{name}_start", start if subtracted else None)
        self.lambda_ = None if lambda_ is None else nn.Parameter(lambda_)

    def matrix(self, q: Tensor) -> Tensor:
        """The projection (..., D, d) of vectors (..., D); of q / |q| where orthogonality is exact."""
        unit = q / q.norm(dim=-1, keepdim=True) if self.orthogonal else q
        return ao_matrix(unit, self.rank, self.constant, self.detach_q0)

    @classmethod
    def build_factors_of(cls, updates: list[Any]) -> list[tuple[Tensor, Tensor]]:
        """A = AO(q_down) diag(lambda) (in, d) and B = AO(q_up) (out, d); twice as wide where a start is subtracted.

        The updates have the same rank and options. AO of all vectors of one width is one batch of outer products;
        built one at a time, the 96 matrices of a ViT-B take 2,000 small operations.
        """
        first = updates[0]
        downs = cls._matrices(updates, "q_down", scaled=first.lambda_ is not None)
        ups = cls._matrices(updates, "q_up")
        if first.q_down_start is None:
            return list(zip(downs, ups, strict=True))
        down_starts = cls._matrices(updates, "q_down_start")
        up_starts = cls._matrices(updates, "q_up_start")
        return [
            (torch.cat([a, a_start], dim=1), torch.cat([b, -b_start], dim=1))
            for a, b, a_start, b_start in zip(downs, ups, down_starts, up_starts, strict=True)
        ]

    @staticmethod
    def _matrices(updates: list[Any], name: str, scaled: bool = False) -> list[Tensor]:
        """AO (D, d) of each update's vector `name` (D), times diag(lambda) if scaled: a batch for each D."""

        def batch(alike: list[Any]) -> tuple[Tensor, ...]:
            made: Tensor = alike[0].matrix(torch.stack([getattr(update, name) for update in alike]))
            return (made * torch.stack([update.lambda_ for update in alike])[:, None] if scaled else made).unbind()

        return grouped(updates, lambda update: len(getattr(update, name)), batch)


@dataclass(frozen=True)
class PairOptions(Method):
    """Options that LoRA+AOFT and Adapter+AOFT share.

    rank: bottleneck d; learn_lambda: dagger; constant: c of Q(q).
    init: ``zero`` draws q on the unit sphere, ``axes`` starts at q = (1, 0, ..), where AO(q) is the first d columns of
    the identity, and both start at the pre-trained function; ``released`` is the authors' start.
    learn_q: false keeps q where it starts, so that lambda alone is trained.
    orthogonal: q is divided by its norm in every forward pass, so that AO(q) is exactly orthogonal.
    detach_q0: entry (0, 0) of AO(q), which is q_0, is a constant to the gradient, as in the authors' code.
    lambda_lr, lambda_decay: learning rate and weight decay of lambda as multiples of the recipe's. A step of AdamW
    moves each number by about the rate. With columns of AO of length 1 that moves the update of a matrix by no more
    than the rate, where LoRA's B, D numbers a column, moves it sqrt(D) times as far: hence a large multiple where
    lambda starts at zero. From lambda ~ N(0, 1) one rate for all, as the authors have it, does as well.
    """

    rank: Annotated[int, Field(ge=1)] = 8
    learn_lambda: bool = True
    constant: Constant = "paper"
    init: Init = "zero"
    learn_q: bool = True
    orthogonal: bool = False
    lambda_lr: Annotated[float, Field(gt=0)] = 60.0
    lambda_decay: Annotated[float, Field(ge=0)] = 1.0
    detach_q0: bool = added(False)

    @property
    def starts_at_backbone(self) -> bool:
        return self.init != "released"

    def scales(self, name: str) -> tuple[float, float]:
        return (self.lambda_lr, self.lambda_decay) if name.endswith(".lambda_") else (1.0, 1.0)

    def factors(self, module: nn.Module) -> Factors | None:
        if not isinstance(module, AOUpdate):
            return None
        return Factors(module.matrix(module.q_down), module.matrix(module.q_up).T, module.factors())

    def update_options(self, lambda_: Tensor) -> dict[str, Any]:
        """Keywords of `AOUpdate`; lambda_: where lambda starts, if it is learned."""
        return {
            "constant": self.constant,
            "init": self.init,
            "lambda_": lambda_ if self.learn_lambda else None,
            "learn_q": self.learn_q,
            "orthogonal": self.orthogonal,
            "detach_q0": self.detach_q0,
        }

    def check(self) -> None:
        """Raise `UserError` for options that are each allowed, but not together."""
        if not (self.learn_q or self.learn_lambda):
            raise UserError(
                "method.learn_q=false with method.learn_lambda=false leaves nothing to train; switch one on"
            )
        if self.init != "released":
            return
        if self.rank == 1:
            # both vectors start at zero and the one column is the vector itself, so every gradient is zero for good
            raise UserError(
                "method.rank=1 cannot be trained from method.init=released; use rank 2 or more, or init=zero"
            )
        if self.orthogonal:
            raise UserError(
                "method.orthogonal=true cannot start at method.init=released, where q is zero; use init=zero"
            )


@method("aoft")
class AOFT(PairOptions):
    """Options of LoRA+AOFT. targets: matrices of each block; keep_bias: false drops the frozen bias of these matrices,
    as the authors' code does; the rest as in `PairOptions`."""

    constant: Constant = "released"
    init: Init = "released"
    lambda_lr: Annotated[float, Field(gt=0)] = 1.0
    targets: Annotated[list[Target], Field(min_length=1)] = field(default_factory=lambda: ["q", "v", "fc1", "fc2"])
    keep_bias: bool = added(True)

    source: ClassVar[str] = "arXiv 2507.13260, ICCV 2025; CalliopeYang/AOFT@2ffd89c model/ViT_unitary_lora.py"
    published: ClassVar[str] = "0.22 M on FGVC, which is 37,056 (q and v only) and the head"
    mergeable: ClassVar[bool] = True

    @property
    def starts_at_backbone(self) -> bool:
        return self.keep_bias and super().starts_at_backbone

    def attach(self, model: nn.Module) -> None:
        def make(inputs: int, outputs: int) -> AOUpdate:
            lambda_ = torch.randn(self.rank) if self.init == "released" else torch.zeros(self.rank)
            return AOUpdate(inputs, outputs, self.rank, **self.update_options(lambda_))

        self.check()
        if not self.keep_bias and any(matrix.bias_apart for matrix in matrices(model, self.targets)):
            raise UserError(
                f"method.keep_bias=false cannot drop the biases of q and v of a {type(model).__name__}, which its "
                "attention keeps apart from the layer; give method.keep_bias=true, or a plain ViT"
            )
        add_updates(model, self.targets, self.rank, make)
        if not self.keep_bias:
            drop_bias(model, self.targets)

    def count(self, shape: Shape) -> int:
        of_lambda = self.rank if self.learn_lambda else 0
        return shape.depth * sum(sum(shape.sides(target)) * self.learn_q + of_lambda for target in self.targets)


@torch.no_grad()
def drop_bias(model: nn.Module, targets: Iterable[str]) -> None:
    """Set the frozen bias of adapted matrices to zero; of a layer that holds several (q, k, v), only their part."""
    for matrix in matrices(model, targets):
        bias = matrix.layer.base.bias
        if bias is not None:
            bias[matrix.rows] = 0


def start_vector(width: int, init: Init) -> Tensor:
    """Where a vector q (D) starts. On the unit sphere q_0 >= 0 is drawn: the far side from the pole at q_0 = -1."""
    if init == "released":
        return torch.zeros(width)
    if init == "axes":
        return torch.eye(1, width)[0]
    q = torch.randn(width)
    q[0] = q[0].abs()
    return q / q.norm()
