"""Where things are inside a timm vision transformer: its blocks, and the matrices that methods act on."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from aoft_bench.utils.errors import UserError

Target = Literal["q", "k", "v", "proj", "fc1", "fc2"]


@dataclass(frozen=True)
class Shape:
    """What parameter-count formulas are written in, for a plain ViT.

    depth: number of blocks L; width: token width D; hidden: width of the feed-forward part, usually 4 D.
    """

    depth: int
    width: int
    hidden: int

    def sides(self, target: str) -> tuple[int, int]:
        """(inputs, outputs) of one of the matrices q, k, v, proj, fc1, fc2."""
        of_ffn = {"fc1": (self.width, self.hidden), "fc2": (self.hidden, self.width)}
        return of_ffn.get(target, (self.width, self.width))


@dataclass(frozen=True)
class Site:
    """One matrix of one block: the linear layer, its parent and name there, and the rows that belong to the matrix.

    timm keeps q, k and v in one layer ``qkv`` of shape (3 D, D); q is its rows [0, D), k [D, 2 D), v [2 D, 3 D).
    """

    parent: nn.Module
    attribute: str
    rows: slice

    @property
    def inputs(self) -> int:
        layer = getattr(self.parent, self.attribute)
        return int(getattr(layer, "base", layer).in_features)

    @property
    def outputs(self) -> int:
        return self.rows.stop - self.rows.start


def block_paths(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """(path, block) of every transformer block (a module with ``attn`` and ``mlp``), first to last: ViT and Swin."""
    blocks = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(getattr(module, "attn", None), nn.Module) and isinstance(getattr(module, "mlp", None), nn.Module)
    ]
    if not blocks:
        raise UserError(
            f"cannot adapt a {type(model).__name__}: it has no transformer blocks with `attn` and `mlp`; "
            "methods work on timm's VisionTransformer and SwinTransformer"
        )
    return blocks


def site(block: nn.Module, target: str) -> Site:
    """The matrix `target` of a block; `UserError` if the block keeps it under another name."""
    part, attribute = ("mlp", target) if target in ("fc1", "fc2") else ("attn", "proj" if target == "proj" else "qkv")
    parent = getattr(block, part)
    layer = getattr(parent, attribute, None)
    base = getattr(layer, "base", layer)
    if not isinstance(base, nn.Linear):
        raise UserError(
            f"cannot adapt {target!r}: {type(parent).__name__} has no linear layer `{attribute}` "
            f"(got {type(layer).__name__}); drop {target!r} from method.targets or use a backbone that has it"
        )
    if attribute != "qkv":
        return Site(parent, attribute, slice(0, base.out_features))
    width = base.out_features // 3
    start = "qkv".index(target) * width
    return Site(parent, attribute, slice(start, start + width))


def shape_of(model: nn.Module) -> Shape:
    """`Shape` of a plain ViT; `UserError` for a backbone whose blocks differ in width (Swin)."""
    blocks = [block for _, block in block_paths(model)]
    found = {(width_of(b), site(b, "fc1").outputs) for b in blocks}
    if len(found) > 1:
        raise UserError(f"{type(model).__name__} has blocks of several widths; count formulas hold for plain ViTs only")
    width, hidden = found.pop()
    return Shape(depth=len(blocks), width=width, hidden=hidden)


def check_rank(rank: int, inputs: int, outputs: int, where: str, option: str = "method.rank") -> None:
    """Raise `UserError` unless rank <= min(inputs, outputs)."""
    if rank > min(inputs, outputs):
        raise UserError(
            f"{option} is too large: got {rank}, but {where} is {inputs} -> {outputs} wide; "
            f"give 1 to {min(inputs, outputs)}"
        )


def width_of(block: nn.Module) -> int:
    """Token width D of a block."""
    return site(block, "fc1").inputs


def replace(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` where `path` (dotted) points."""
    parent_path, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent_path), name, new)


def head_parameters(model: nn.Module) -> set[str]:
    """Names of the classifier's parameters."""
    head = model.get_classifier()  # type: ignore[operator]
    inside = {id(p) for p in head.parameters()}
    return {name for name, p in model.named_parameters() if id(p) in inside}
