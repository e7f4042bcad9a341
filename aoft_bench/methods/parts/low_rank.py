r"""Low-rank updates of matrices, for every method of the form :math:`W + B A^\top`.

A method subclasses `LowRank`, which gives the two factors A and B, and calls `add_updates`. The forward pass, the
backward pass and merging are done for it by parts/merged_linear.py.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch import Tensor, nn

from aoft_bench.backbones.layout import Matrix, check_rank, matrices
from aoft_bench.methods.parts.merged_linear import AdaptedLinear

T = TypeVar("T")
Result = TypeVar("Result")


class LowRank(nn.Module):
    """A trained update B A^T of one matrix W (out, in). Subclasses define `build_factors` or `build_factors_of`."""

    # during a forward pass of the whole model step_hooks.py builds those of all updates once, before the first block
    prebuilt: tuple[Tensor, Tensor] | None = None

    def factors(self) -> tuple[Tensor, Tensor]:
        """(A, B) with shapes (in, k) and (out, k); the update of the weight is B A^T."""
        return self.build_factors_of([self])[0] if self.prebuilt is None else self.prebuilt

    def build_factors(self) -> tuple[Tensor, Tensor]:
        """`factors`, computed from the parameters."""
        raise NotImplementedError(f"{type(self).__name__} must define build_factors() or build_factors_of()")

    @classmethod
    def build_factors_of(cls, updates: list[Any]) -> list[tuple[Tensor, Tensor]]:
        """The factors of many updates of this class. Define it where a batch of them costs less."""
        return [update.build_factors() for update in updates]

    def weight(self) -> Tensor:
        """The update B A^T, shape (out, in)."""
        a, b = self.factors()
        return b @ a.T


def add_updates(model: nn.Module, targets: Iterable[str], rank: int, make: Callable[[int, int], LowRank]) -> None:
    """Add ``make(inputs, outputs)`` to the `targets` of every block; `UserError` if `rank` exceeds a side of one."""
    for matrix in matrices(model, targets):
        check_rank(rank, matrix.inputs, matrix.outputs, matrix.target)
        add_update(matrix, make(matrix.inputs, matrix.outputs))


def add_update(matrix: Matrix, update: LowRank, layer_class: type[AdaptedLinear] = AdaptedLinear) -> None:
    """Add `update` to one matrix. Matrices of one layer (q, k and v) share one `AdaptedLinear`."""
    layer = matrix.layer
    if not isinstance(layer, layer_class):
        layer = layer_class(layer)
        matrix.replace_layer(layer)
    layer.add(matrix.target, matrix.rows, update.to(layer.base.weight))


def grouped(items: list[T], key: Callable[[T], object], build: Callable[[list[T]], Iterable[Result]]) -> list[Result]:
    """One result for each item, in order; `build` is called once for all items with the same key (a shape, say)."""
    groups: dict[object, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(key(item), []).append(index)
    results: dict[int, Result] = {}
    for indices in groups.values():
        results |= zip(indices, build([items[index] for index in indices]), strict=True)
    return [results[index] for index in range(len(items))]
