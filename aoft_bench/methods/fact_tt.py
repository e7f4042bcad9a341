r"""FacT-TT: updates of all matrices as slices of one tensor in tensor-train format, with factors shared by all layers.

The 4 + 2 n matrices of width D x D of a block (q, k, v, proj; fc1 and fc2 count as n = hidden / D each) are slices of
one tensor; the update of slice m is

    s U C_m V^T            U (D, r), V (D, r) shared by all slices of all blocks, C_m (r, r) its own

    x (W + s U C V^T) + b                              x (..., D), W (D, D): q, k, v, proj
    x (W + s U [C_1 V^T, ..., C_n V^T]) + b            x (..., D), W (D, n D): fc1, slices side by side
    x (W + s [U C_1; ...; U C_n] V^T) + b              x (..., n D), W (n D, D): fc2, slices one above the other

V starts at zero, so training starts at the pre-trained function; U and C are drawn as the authors' linear layers are
(uniform up to 1/sqrt of their inputs). Every update has rank r, whatever n is.

Parameters: 2 D r + L (4 + 2 n) r^2. ViT-B/16: 61,440 with r = 16, 21,504 with r = 8, 8,448 with r = 4 (the paper's
"8K"). The table's 0.037 M is a mean over tasks with r <= 16; the released ranks have a mean of 39,734.

Source: Jie and Deng, AAAI 2023, arXiv 2212.03145; behaviour read in the authors' code, JieShibo/PETL-ViT at 026e4f1,
FacT/fact_tt.py.

Differs from the authors' code: no dropout (0.1 there) before V; the frozen layer and the update are one product
instead of two. The authors' scale is s, tuned from 0.01 to 100 for each task (conf/hparams/fact_tt).
"""

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import Target, block_paths, check_rank, matrices, matrices_of, width_of
from aoft_bench.methods.parts.low_rank import LowRank, add_update
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError


class SharedFactors(nn.Module):
    """U (D, r) and V (D, r), one pair for the whole network."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.empty(width, rank).uniform_(-1 / math.sqrt(width), 1 / math.sqrt(width)))
        self.v = nn.Parameter(torch.zeros(width, rank))


class SharedUpdate(LowRank):
    """Update of one matrix from the shared factors and its own n slices of the tensor, C (n, r, r)."""

    def __init__(self, shared: SharedFactors, target: str, scale: float) -> None:
        super().__init__()
        # inside a tuple it is a reference and no submodule: the factors are listed, saved and moved once, with the
        # update that `own` was called on, and copy.deepcopy of the model keeps them shared
        self._shared = (shared,)
        self.target, self.scale = target, scale

    def own(self) -> None:
        """Make the shared factors a submodule of this update."""
        self.shared = self._shared[0]

    @classmethod
    def cores_of(cls, updates: list[Any]) -> list[Tensor]:
        """C (n, r, r) of each update."""
        raise NotImplementedError(f"{cls.__name__} must define cores_of()")

    @classmethod
    def build_factors_of(cls, updates: list[Any]) -> list[tuple[Tensor, Tensor]]:
        """The factors of updates that share U and V: U or V times the slices of all of them is one product."""
        u, v = updates[0]._shared[0].u, updates[0]._shared[0].v * updates[0].scale
        cores = cls.cores_of(updates)
        wide_inputs = [update.target == "fc2" for update in updates]
        downs = _products(u, [c for c, wide in zip(cores, wide_inputs, strict=True) if wide])
        ups = _products(v, [c.mT for c, wide in zip(cores, wide_inputs, strict=True) if not wide])
        return [(next(downs), v) if wide else (u, next(ups)) for wide in wide_inputs]


def _products(shared: Tensor, cores: list[Tensor]) -> Iterator[Tensor]:
    """`shared` (D, r) times each slice of each (n, r, r), its products one below the other: (n D, r)."""
    if not cores:
        return iter(())
    products = shared @ torch.cat(cores)
    return (part.flatten(0, 1) for part in torch.split(products, [len(c) for c in cores]))


class TensorTrainUpdate(SharedUpdate):
    """Slices that are trained as they are."""

    def __init__(self, shared: SharedFactors, target: str, slices: int, scale: float) -> None:
        super().__init__(shared, target, scale)
        rank = shared.u.shape[1]
        bound = 1 / math.sqrt(rank * slices if target == "fc2" else rank)
        self.core = nn.Parameter(torch.empty(slices, rank, rank).uniform_(-bound, bound))

    @classmethod
    def cores_of(cls, updates: list[Any]) -> list[Tensor]:
        return [update.core for update in updates]


def _sides(block: nn.Module, method: str) -> int:
    """Hidden width of a block; `UserError`, which names `method`, where its matrices are not D x D or D x hidden."""
    width, found = width_of(block), [m for target in get_args(Target) for m in matrices_of(block, target)]
    hidden = next(m.outputs for m in found if m.target == "fc1")
    if sum(m.target == "fc1" for m in found) > 1:
        raise UserError(
            f"{method} cannot adapt a {type(block).__name__}: its fc1 is two layers (SwiGLU), and the slices of one "
            "tensor need one; use a plain ViT"
        )
    sides = {"fc1": (width, hidden), "fc2": (hidden, width)}
    for m in found:
        wanted = sides.get(m.target, (width, width))
        if (m.inputs, m.outputs) != wanted:
            raise UserError(
                f"{method} cannot adapt a {type(block).__name__}: {m.target} is {m.inputs} -> {m.outputs} wide, and "
                f"the slices of one tensor need {wanted[0]} -> {wanted[1]}; use a plain ViT"
            )
    return hidden


def slices_of(model: nn.Module, rank: int, method: str = "FacT") -> tuple[int, int, int]:
    """(D, n, total slices) of a network; `UserError`, which names `method`, where its matrices are no slices of one
    tensor."""
    blocks = [block for _, block in block_paths(model)]
    shapes = {(width_of(block), _sides(block, method)) for block in blocks}
    if len(shapes) > 1:
        raise UserError(
            f"{method} cannot adapt a {type(model).__name__}: its blocks differ in width, and all of them share the "
            "factors; use a plain ViT"
        )
    width, hidden = shapes.pop()
    if hidden % width:
        raise UserError(
            f"{method} cannot adapt this {type(model).__name__}: fc1 is {width} -> {hidden} wide, and it needs a "
            "hidden width that is a multiple of the token width; use a backbone with a whole mlp_ratio"
        )
    check_rank(rank, width, width, "the block")
    n = hidden // width
    return width, n, len(blocks) * (4 + 2 * n)


def insert(model: nn.Module, n: int, make: Callable[[str, int], SharedUpdate]) -> None:
    """Add the update make(target, slices) to every matrix of every block; the first one owns the shared factors."""
    for index, matrix in enumerate(matrices(model, get_args(Target))):
        update = make(matrix.target, n if matrix.target in ("fc1", "fc2") else 1)
        if index == 0:
            update.own()
        add_update(matrix, update)


@method("fact_tt")
class FacTTT(Method):
    """Options of FacT-TT. rank r; scale s of the update."""

    rank: Annotated[int, Field(ge=1)] = 16
    scale: Annotated[float, Field(gt=0)] = 1.0

    source: ClassVar[str] = "arXiv 2212.03145, AAAI 2023; JieShibo/PETL-ViT@026e4f1 FacT/fact_tt.py"
    published: ClassVar[str] = "0.037 M, a mean over ranks chosen per task; the released ranks average 39,734"
    mergeable: ClassVar[bool] = True

    def attach(self, model: nn.Module) -> None:
        width, n, _ = slices_of(model, self.rank)
        shared = SharedFactors(width, self.rank)
        insert(model, n, lambda target, slices: TensorTrainUpdate(shared, target, slices, self.scale))

    def count(self, shape: Shape) -> int:
        slices = shape.depth * (4 + 2 * (shape.hidden // shape.width))
        return 2 * shape.width * self.rank + slices * self.rank**2
