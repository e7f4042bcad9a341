r"""CaRA: updates of all matrices as slices of two tensors in canonical polyadic form, of q, k, v and of the rest.

The update of q, k or v of a block, with an index for the matrix (3 L of them), its input, head and channel of a head:

    s sum_r u_r a1[r] A2[:, r] (A3[:, r] ⊗ A4[:, r])^T          A2 (D, R), A3 (heads, R), A4 (d, R), u (R) shared,
                                                                a1 (R) its own, ⊗ the Kronecker product

Of the other matrices proj is one slice of width D x D, fc1 and fc2 are n = H / D slices each, with b (n, R) their own:

    proj   s sum_r w_r b[0, r] P3[:, r] P2[:, r]^T              P2, P3 (D, R), w (R) shared
    fc1    s sum_r w_r P3[:, r] [b[0, r] P2[:, r], ..., b[n - 1, r] P2[:, r]]^T     slices side by side
    fc2    s sum_r w_r [b[0, r] P2[:, r]; ...; b[n - 1, r] P2[:, r]] P3[:, r]^T     slices one above the other

    x (W + update) + c + s e          x (..., in), W (in, out); e (out) of proj, fc1 and fc2, shared by all blocks

A2, P2 and e start at zero, so training starts at the pre-trained function. A3, A4 and P3 are orthogonal, a1 and b
normal with Xavier's deviation, u and w N(lambda_mean, lambda_std^2).

Parameters: R (3 L + D + heads + d) + R ((1 + 2 n) L + 2 D) + 2 R + 2 D + H. ViT-B/16, R = 32: 85,440, of which 4,608
are the biases e.

Source: Veeramacheneni et al., ICML 2025; written from the authors' code, BonnBytes/CaRA at f0ac9a9, src/cara/cara.py,
with the rank of image_classification/vit_cp.py. The authors choose s and the start of u and w for each task:
conf/hparams/cara.

Differs from the authors' code: no dropout (0.1 there, 0.3 on eight tasks) on the entries of the updates; the frozen
layer and the update are one product instead of two; widths and heads are the backbone's (theirs are those of ViT-B).
"""

import math
from typing import Annotated, Any, ClassVar, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import Target, block_paths, heads_of, matrices
from aoft_bench.methods.fact_tt import slices_of
from aoft_bench.methods.parts.low_rank import LowRank, add_update
from aoft_bench.methods.parts.merged_linear import AdaptedLinear
from aoft_bench.methods.registry import Method, Shape, method


class CanonicalFactors(nn.Module):
    """What all updates share; names and shapes in the module's text, the shared biases e in `shifts`."""

    def __init__(self, width: int, hidden: int, heads: int, rank: int, mean: float, std: float) -> None:
        super().__init__()
        self.inputs, self.outputs = nn.Parameter(torch.zeros(width, rank)), nn.Parameter(torch.zeros(width, rank))
        self.heads, self.channels = _orthogonal(heads, rank), _orthogonal(width // heads, rank)
        self.others = _orthogonal(width, rank)
        self.weights = nn.Parameter(mean + std * torch.randn(rank))
        self.other_weights = nn.Parameter(mean + std * torch.randn(rank))
        sizes = {"proj": width, "fc1": hidden, "fc2": width}
        self.shifts = nn.ParameterDict({target: nn.Parameter(torch.zeros(size)) for target, size in sizes.items()})


def _orthogonal(rows: int, rank: int) -> nn.Parameter:
    return nn.Parameter(nn.init.orthogonal_(torch.empty(rows, rank)))


class CanonicalUpdate(LowRank):
    """Update of one matrix from the shared factors and its own `rows` (n, R): a1 or b. std: of these at the start."""

    def __init__(self, shared: CanonicalFactors, target: str, slices: int, scale: float, std: float) -> None:
        super().__init__()
        # inside a tuple it is a reference and no submodule: see SharedUpdate in fact_tt.py
        self._shared = (shared,)
        self.target, self.scale = target, scale
        self.rows = nn.Parameter(std * torch.randn(slices, len(shared.weights)))

    def own(self) -> None:
        """Make the shared factors a submodule of this update."""
        self.shared = self._shared[0]

    def shift(self) -> Tensor | None:
        """What is added to the bias of the layer, (out), if anything."""
        shifts = self._shared[0].shifts
        return self.scale * shifts[self.target] if self.target in shifts else None  # type: ignore[operator]

    @classmethod
    def build_factors_of(cls, updates: list[Any]) -> list[tuple[Tensor, Tensor]]:
        shared, scale = updates[0]._shared[0], updates[0].scale
        heads = (shared.heads[:, None] * shared.channels).flatten(0, 1) * (scale * shared.weights)
        others = scale * shared.other_weights * shared.others
        factors = []
        for update in updates:
            if update.target in ("q", "k", "v"):
                factors.append((shared.inputs, heads * update.rows))
                continue
            slices = (update.rows[:, None] * shared.outputs).flatten(0, 1)
            factors.append((slices, others) if update.target == "fc2" else (others, slices))
        return factors


class CanonicalLinear(AdaptedLinear):
    """A frozen linear layer with `CanonicalUpdate`s, whose bias has the shared one on top."""

    def bias(self) -> Tensor | None:
        own, shifts = super().bias(), [update.shift() for update in self.updates.values()]  # type: ignore[operator]
        if shifts[0] is None:
            return own
        return shifts[0] if own is None else own + shifts[0]  # type: ignore[no-any-return]


@method("cara")
class CaRA(Method):
    """Options of CaRA. rank R; scale s of the updates; lambda_mean, lambda_std: of u and w at the start."""

    rank: Annotated[int, Field(ge=1)] = 32
    scale: Annotated[float, Field(gt=0)] = 10.0  # the authors' for 6 of the 19 tasks
    lambda_mean: float = 1.0
    lambda_std: Annotated[float, Field(ge=0)] = 0.0

    source: ClassVar[str] = "Veeramacheneni et al., ICML 2025; BonnBytes/CaRA@f0ac9a9 src/cara/cara.py"
    published: ClassVar[str] = "not at hand; the code counts 85,440"
    mergeable: ClassVar[bool] = True

    def attach(self, model: nn.Module) -> None:
        width, n, total = slices_of(model, self.rank, "CaRA")
        blocks = [block for _, block in block_paths(model)]
        heads = max(heads_of(block, "cara") for block in blocks)
        shared = CanonicalFactors(width, n * width, heads, self.rank, self.lambda_mean, self.lambda_std)
        # Xavier's deviation of all rows of a tensor: 3 L of q, k, v; the slices of the rest
        stds = [math.sqrt(2 / (rows + self.rank)) for rows in (3 * len(blocks), total - 3 * len(blocks))]
        for index, matrix in enumerate(matrices(model, get_args(Target))):
            slices = n if matrix.target in ("fc1", "fc2") else 1
            update = CanonicalUpdate(shared, matrix.target, slices, self.scale, stds[matrix.target not in "qkv"])
            if index == 0:
                update.own()
            add_update(matrix, update, CanonicalLinear)

    def count(self, shape: Shape) -> int | None:
        if shape.heads is None:
            return None
        depth, width, n = shape.depth, shape.width, shape.hidden // shape.width
        ranks = (4 + 2 * n) * depth + 3 * width + shape.heads + width // shape.heads + 2
        return self.rank * ranks + 2 * width + shape.hidden
