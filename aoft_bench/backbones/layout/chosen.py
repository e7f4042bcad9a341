"""Which blocks of a network a method acts on.

Inside `acting_on` the functions of this package show a method the chosen blocks and what stands behind the first of
them, as if there were nothing else to act on. Outside it they show the whole network.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from aoft_bench.backbones.layout.families import family_of
from aoft_bench.utils.errors import UserError

ChosenBlocks = int | str | list[int]  # all; last:N, or N; numbers from 0, rising


def last_blocks(blocks: int | str) -> int:
    """N of last:N or N."""
    return int(str(blocks).removeprefix("last:"))


def all_blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """(path, block) of every block, first to last: those of `FAMILIES`, and others with an `attn` and an `mlp`."""
    blocks = [(path, module) for path, module in model.named_modules() if family_of(module) is not None]
    if not blocks:
        raise UserError(
            f"cannot adapt a {type(model).__name__}: it has no transformer blocks with `attn` and `mlp`, and is of no "
            "other known family; docs/networks.md says which methods act on what (method=full and method=linear on all)"
        )
    return blocks


def chosen_blocks(model: nn.Module, blocks: ChosenBlocks) -> list[int]:
    """Numbers, from 0 and rising, of the blocks that an option `method.blocks` names; `UserError` for those that the
    network does not have."""
    count = len(all_blocks(model))
    if blocks == "all":
        return list(range(count))
    if isinstance(blocks, list):
        chosen, allowed = blocks, f"numbers from 0 to {count - 1}"
    else:
        chosen, allowed = list(range(count - last_blocks(blocks), count)), f"last:1 to last:{count}"
    if chosen[0] < 0 or chosen[-1] >= count:
        raise UserError(
            f"method.blocks is too large: got {blocks}, the backbone has {count} blocks; give {allowed}, or all"
        )
    return list(chosen)


@contextmanager
def acting_on(model: nn.Module, blocks: ChosenBlocks) -> Iterator[None]:
    """Within, `model` shows these blocks only. Raises `UserError` as `chosen_blocks` does."""
    if blocks == "all":
        yield
        return
    vars(model)["_chosen_blocks"] = chosen_blocks(model, blocks)
    try:
        yield
    finally:
        del vars(model)["_chosen_blocks"]


def _chosen(model: nn.Module) -> list[int] | None:
    found: Any = vars(model).get("_chosen_blocks")
    return found  # type: ignore[no-any-return]


def block_paths(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """(path, block) of every block that a method acts on, first to last; `UserError` for a network without blocks."""
    blocks, chosen = all_blocks(model), _chosen(model)
    return blocks if chosen is None else [blocks[number] for number in chosen]


def acted_on(model: nn.Module) -> Callable[[str], bool]:
    """Whether a method acts on the module or parameter of this name: all, or those in the chosen blocks, and those in
    no block that stand behind the first of them, such as the final norm. A method puts nothing new into `model` between
    this call and the answers."""
    if _chosen(model) is None:
        return lambda name: True
    every, chosen = [path for path, _ in all_blocks(model)], [path for path, _ in block_paths(model)]
    names = [name for name, _ in model.named_modules()]
    behind = set(names[names.index(chosen[0]) :])

    def acts(name: str) -> bool:
        inside = [path for path in every if name == path or name.startswith(f"{path}.")]
        if inside:
            return inside[0] in chosen
        return name in behind or name.rpartition(".")[0] in behind

    return acts


def require_neighbours(model: nn.Module, method: str, *, to_the_end: bool) -> None:
    """Raise `UserError`, which names `method`, unless the chosen blocks follow each other, up to the last one with
    `to_the_end`."""
    chosen = _chosen(model)
    if chosen is None:
        return
    count = len(all_blocks(model))
    in_a_row = chosen == list(range(chosen[0], chosen[-1] + 1))
    if to_the_end and not (in_a_row and chosen[-1] == count - 1):
        raise UserError(
            f"{method} goes from each block to the next, up to the head: got method.blocks={chosen} of {count}; give "
            f"all or last:N"
        )
    if not in_a_row:
        raise UserError(
            f"{method} goes from each block to the next: got method.blocks={chosen}; give all, last:N, or numbers "
            "without a gap"
        )
