"""The matrices of a block: q, k, v, proj, fc1 and fc2, and the linear layers that hold them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from aoft_bench.backbones.layout.blocks import put, require, the_family_of
from aoft_bench.backbones.layout.chosen import block_paths
from aoft_bench.backbones.layout.families import Family
from aoft_bench.utils.errors import UserError

Target = Literal["q", "k", "v", "proj", "fc1", "fc2"]
Sublayer = Literal["attn", "mlp"]
OF_FEED_FORWARD = ("fc1", "fc2")


@dataclass(frozen=True)
class Matrix:
    """One matrix of one block: its target name, the linear layer that holds it, and its rows in that layer.

    timm keeps q, k and v in one layer ``qkv`` of shape (3 D, D), q is its rows [0, D), k [D, 2 D), v [2 D, 3 D); or in
    a layer each. fc1 of a SwiGLU may be two layers, which are two matrices with the target fc1.
    parent, attribute: the module that has the layer as an attribute, and the attribute's name; shared: whether q, k
    and v are in it together.
    """

    target: str
    parent: nn.Module
    attribute: str
    rows: slice
    shared: bool = False

    @property
    def layer(self) -> Any:
        """The layer that holds the matrix now: the frozen linear layer, or a module that a method put in its place."""
        return getattr(self.parent, self.attribute)

    @property
    def name(self) -> str:
        """The target, or the name of the layer where the target is several of them: different in all of a block."""
        return self.attribute if self.attribute.startswith(f"{self.target}_") else self.target

    @property
    def inputs(self) -> int:
        return int(getattr(self.layer, "base", self.layer).in_features)

    @property
    def outputs(self) -> int:
        return self.rows.stop - self.rows.start

    @property
    def bias_apart(self) -> bool:
        """Whether the attention holds the biases of q and v, and not the layer."""
        return self.target in "qkv" and any(getattr(self.parent, name, None) is not None for name in Family.biases)

    def replace_layer(self, new: nn.Module) -> None:
        """Put `new` in the place of the whole layer."""
        put(self.parent, self.attribute, new)

    def siblings(self) -> "list[Matrix]":
        """All matrices of the layer, in the order of their rows: q, k and v, or this one alone."""
        if not self.shared:
            return [self]
        width = self.outputs
        rows = [slice(i * width, (i + 1) * width) for i in range(3)]
        return [Matrix(target, self.parent, self.attribute, r, True) for target, r in zip("qkv", rows, strict=True)]


def matrices(model: nn.Module, targets: Iterable[str]) -> Iterator[Matrix]:
    """The matrices `targets` of every block, block by block, in the order of `targets`."""
    targets = list(targets)
    for _, block in block_paths(model):
        for target in targets:
            yield from matrices_of(block, target)


def one_of_each_layer(model: nn.Module, targets: Iterable[str]) -> Iterator[Matrix]:
    """`matrices`, but one of each layer: q alone stands for the layer that holds k and v too."""
    seen = set()
    for matrix in matrices(model, targets):
        place = (id(matrix.parent), matrix.attribute)
        if place not in seen:
            seen.add(place)
            yield matrix


def matrix_of(block: nn.Module, target: str) -> Matrix:
    """The matrix `target` of a block, the last one if it is of two; `UserError` if the block has none."""
    return matrices_of(block, target)[-1]


def matrices_of(block: nn.Module, target: str) -> list[Matrix]:
    """The matrix `target` of a block, or both where fc1 is two layers; `UserError` if the block has none."""
    family = the_family_of(block)
    if target in OF_FEED_FORWARD:
        parent = getattr(block, family.feed_forward, None)
        names = [(family.fc1,), family.gated] if target == "fc1" else [(family.fc2,)]
    else:
        parent = getattr(block, family.attention, None)
        names = [(family.proj,)] if target == "proj" else [(family.fused,), (family.split["qkv".index(target)],)]
    for layers in names:
        if all(isinstance(base_of(getattr(parent, name, None)), nn.Linear) for name in layers):
            return [_matrix(target, parent, name, shared=name == family.fused) for name in layers]  # type: ignore[arg-type]
    raise _missing(block, target, parent, names)


def base_of(layer: Any) -> Any:
    """The frozen layer inside of what a method put in its place, or the layer itself."""
    return getattr(layer, "base", layer)


def _matrix(target: str, parent: nn.Module, name: str, shared: bool) -> Matrix:
    outputs = base_of(getattr(parent, name)).out_features
    if not shared:
        return Matrix(target, parent, name, slice(0, outputs))
    start = "qkv".index(target) * (outputs // 3)
    return Matrix(target, parent, name, slice(start, start + outputs // 3), True)


def _missing(block: nn.Module, target: str, parent: Any, names: list[Any]) -> UserError:
    kind = type(block).__name__
    if parent is None:
        part, others = ("feed-forward part", "q,v") if target in OF_FEED_FORWARD else ("attention", "fc1,fc2")
        advice = f"give method.targets=[{others}] if the method has targets, else use another backbone"
        return UserError(f"cannot adapt {target!r}: a {kind} has no {part}; {advice}")
    wanted = " or ".join(f"`{'`, `'.join(layers)}`" for layers in names)
    there = [name for layers in names for name in layers if getattr(parent, name, None) is not None]
    got = f" (got {', '.join(type(getattr(parent, name)).__name__ for name in there)})" if there else ""
    return UserError(
        f"cannot adapt {target!r}: {type(parent).__name__} has no linear layer {wanted}{got}; "
        f"drop {target!r} from method.targets or use a backbone that has it"
    )


def check_rank(rank: int, inputs: int, outputs: int, where: str, option: str = "method.rank") -> None:
    """Raise `UserError` unless rank <= min(inputs, outputs)."""
    if rank > min(inputs, outputs):
        raise UserError(
            f"{option} is too large: got {rank}, but {where} is {inputs} -> {outputs} wide; "
            f"give 1 to {min(inputs, outputs)}"
        )


def width_of(block: nn.Module) -> int:
    """Token width D of a block."""
    return matrix_of(block, "fc1").inputs


def checked_width(block: nn.Module, size: int, option: str = "method.bottleneck") -> int:
    """Token width D of a block; `UserError` if `size`, the value of `option`, is larger."""
    width = width_of(block)
    check_rank(size, width, width, "the block", option)
    return width


def sublayer_path(block: nn.Module, sublayer: Sublayer) -> str:
    """The attribute of a block that is this sublayer, which gives tokens (..., D); `UserError` if it does not."""
    family = the_family_of(block)
    if sublayer == "attn":
        if family.tokens != "unknown":
            require(block, "what acts on the output of attention", "attention")
        return family.attention
    outputs, width = matrix_of(block, "fc2").outputs, width_of(block)
    if outputs != width:
        raise UserError(
            f"an adapter cannot act on the feed-forward part of a {type(block).__name__}: it is {width} -> {outputs} "
            "wide; use a plain ViT"
        )
    return family.feed_forward


def matrices_in(path: str) -> int:
    """Number of matrices on top of each other in the linear layer at `path`: 3 (q, k, v) or 1."""
    return 3 if path.endswith(".qkv") else 1
