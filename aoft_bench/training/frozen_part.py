"""Find what is frozen in a model: the activations that no trained parameter and no random number can change.

Which modules these are is seen in one forward pass: those whose input needs no gradient. Nothing is constant behind a
module that draws random numbers, such as drop path.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from aoft_bench.backbones.layout import block_paths, classifiers
from aoft_bench.utils.errors import UserError


@dataclass(frozen=True)
class FrozenPart:
    """What is constant in a model. features: whether the input of the head is. blocks: paths of the blocks whose tokens
    are; kept: those of them whose tokens are read by something else than the next constant block. why_not: what a user
    could change, where nothing is constant."""

    features: bool = False
    blocks: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    why_not: str = ""

    def __bool__(self) -> bool:
        return self.features or bool(self.blocks)


def frozen_part(model: nn.Module, images: Tensor) -> FrozenPart:
    """Find what is constant, in one forward pass of normalized images (B, C, S, S), in evaluation mode."""
    blocks = _blocks(model)
    inside = {id(module) for block in blocks.values() for module in block.modules()}
    constant: list[str] = []
    stopped_by: list[str] = []  # what ended the constant part

    def at_block(path: str) -> Any:
        def hook(block: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            given = [*inputs, *keywords.values()]
            if any(isinstance(value, Tensor) and value.requires_grad for value in given) or any(
                parameter.requires_grad for parameter in block.parameters()
            ):
                stopped_by.append("")
            elif found := [path_ for path_, module in block.named_modules() if is_random(module)]:
                stopped_by.append(f"{path}.{found[0]}")
            elif not any(stopped_by) and len(inputs) == 1 and isinstance(inputs[0], Tensor):
                constant.append(path)

        return hook

    def at_random(path: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if not inputs[0].requires_grad:
                stopped_by.append(path)

        return hook

    features: list[bool] = []

    def at_head(head: nn.Module, inputs: tuple[Any, ...]) -> None:
        features.append(not inputs[0].requires_grad and not any(stopped_by))

    hooks = [block.register_forward_pre_hook(at_block(path), with_kwargs=True) for path, block in blocks.items()]
    hooks += [
        module.register_forward_pre_hook(at_random(path))
        for path, module in model.named_modules()
        if id(module) not in inside and is_random(module)
    ]
    if len(classifiers(model)) == 1:  # of a distilled network, whose logits are a mean of two, tokens are kept
        hooks.append(head_of(model).register_forward_pre_hook(at_head))
    training = model.training
    try:
        model.eval()(images)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if features == [True]:
        return FrozenPart(features=True)
    if not constant:
        random = next((path for path in stopped_by if path), "")
        return FrozenPart(why_not=f"{random} is random" if random else "")
    return FrozenPart(blocks=tuple(constant), kept=tuple(_read_by_others(model, constant)))


def is_random(module: nn.Module) -> bool:
    """Whether a module drops something at random in training. Norms of batches use the statistics of pre-training."""
    rate = next((getattr(module, name) for name in ("p", "drop_prob", "prob") if hasattr(module, name)), 0.0)
    return can_drop(module) and bool(rate)


def can_drop(module: nn.Module) -> bool:
    """Whether a module is a dropout or the like, at any rate."""
    return isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ in ("DropPath", "PatchDropout")


def _blocks(model: nn.Module) -> dict[str, nn.Module]:
    try:
        return dict(block_paths(model))
    except UserError:  # a network without blocks can have a linear probe
        return {}


def head_of(model: nn.Module) -> nn.Module:
    """The layer that computes the logits, or the first of two."""
    return classifiers(model)[0]


def _read_by_others(model: nn.Module, constant: list[str]) -> Iterator[str]:
    """Constant blocks whose tokens are not only the input of the next constant block in the same list of blocks."""
    parents = [path.rpartition(".")[0] for path in constant]
    for index, path in enumerate(constant):
        parent = model.get_submodule(parents[index])
        followed = index + 1 < len(constant) and parents[index + 1] == parents[index]
        if not (followed and isinstance(parent, nn.Sequential | nn.ModuleList)):
            yield path
