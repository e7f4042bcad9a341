r"""FacT-TK: updates of all matrices as slices of one tensor in Tucker format, factors and core shared by all layers.

As in fact_tt.py, every block has 4 + 2 n slices of width D x D (q, k, v, proj; fc1 and fc2 are n = hidden / D each),
placed in the matrices as written there. The update of slice m is

    s U C_m V^T,    C_m = sum_k P_km G_k           U (D, r), V (D, r), G_k (r, r) for k = 1 ... r: shared by all slices,
                                                   P (r, M): one column for each of the M = L (4 + 2 n) slices

V starts at zero, so training starts at the pre-trained function; U is drawn as in fact_tt.py, G and P from Xavier's
uniform distribution as in the authors' code.

Parameters: 2 D r + r^3 + r L (4 + 2 n). ViT-B/16: 86,528 with r = 32, 30,976 with r = 16. Tables print 0.069 or
0.07 M, the mean over the authors' ranks for the 19 tasks (68,985; conf/hparams/fact_tk).

Source: Jie and Deng, AAAI 2023, arXiv 2212.03145; behaviour read in the authors' code, JieShibo/PETL-ViT at 026e4f1,
FacT/fact_tk.py.

Differs from the authors' code: no dropout (0.1 there) before V; every slice of fc1 and fc2 is U C_m V^T, where their
reshape of (r, r, 4) to (r, 4 r) mixes the columns of the four slices, and fc2 takes them transposed; the frozen layer
and the update are one product instead of two; P is kept with the matrices that its columns belong to.
"""

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.methods.fact_tt import SharedFactors, SharedUpdate, insert, slices_of
from aoft_bench.methods.registry import Method, Shape, method


class TuckerFactors(SharedFactors):
    """U, V and the core G (r, r, r), its last index the one that P sums over."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__(width, rank)
        bound = math.sqrt(3) / rank  # Xavier with r^2 inputs and r^2 outputs
        self.core = nn.Parameter(torch.empty(rank, rank, rank).uniform_(-bound, bound))


class TuckerUpdate(SharedUpdate):
    """Slices that are mixtures of the core's, by `mixing`: this matrix's columns of P (r, n). total: columns of P."""

    def __init__(self, shared: TuckerFactors, target: str, slices: int, scale: float, total: int) -> None:
        super().__init__(shared, target, scale)
        rank = shared.u.shape[1]
        bound = math.sqrt(6 / (rank + total))
        self.mixing = nn.Parameter(torch.empty(rank, slices).uniform_(-bound, bound))

    @classmethod
    def cores_of(cls, updates: list[Any]) -> list[Tensor]:
        mixing = torch.cat([update.mixing for update in updates], dim=1)
        cores = torch.einsum("abk,km->mab", updates[0]._shared[0].core, mixing)
        return list(torch.split(cores, [update.mixing.shape[1] for update in updates]))


@method("fact_tk")
class FacTTK(Method):
    """Options of FacT-TK. rank r; scale s of the update."""

    rank: Annotated[int, Field(ge=1)] = 32
    scale: Annotated[float, Field(gt=0)] = 1.0

    source: ClassVar[str] = "arXiv 2212.03145, AAAI 2023; JieShibo/PETL-ViT@026e4f1 FacT/fact_tk.py"
    published: ClassVar[str] = "0.069 M, a mean over ranks chosen per task; the released ranks average 68,985"
    mergeable: ClassVar[bool] = True

    def attach(self, model: nn.Module) -> None:
        width, n, total = slices_of(model, self.rank)
        shared = TuckerFactors(width, self.rank)
        insert(model, n, lambda target, slices: TuckerUpdate(shared, target, slices, self.scale, total))

    def count(self, shape: Shape) -> int:
        slices = shape.depth * (4 + 2 * (shape.hidden // shape.width))
        return 2 * shape.width * self.rank + self.rank**3 + self.rank * slices
