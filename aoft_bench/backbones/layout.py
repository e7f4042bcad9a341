"""Where things are inside a timm vision transformer: blocks, sublayers, matrices, norms, prefix tokens, patches.

Methods ask here and do not spell timm's attribute names themselves. A plain (pre-norm) ViT block computes

    x = x + attn(norm1(x));   x = x + mlp(norm2(x))

where attn and mlp are its two sublayers, each followed by layer scale and drop path if the network has them.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from aoft_bench.utils.errors import UserError

Target = Literal["q", "k", "v", "proj", "fc1", "fc2"]
Sublayer = Literal["attn", "mlp"]

FINAL_NORM = "norm"  # path of the layer norm between the last block and the head


@dataclass(frozen=True)
class Shape:
    """The sizes that formulas of parameter counts are written in, for a plain ViT.

    depth: number of blocks L; width: token width D; hidden: width H of the feed-forward part, usually 4 D; parameters:
    of the whole network without its head; heads: of the attention. The last two where they are known.
    """

    depth: int
    width: int
    hidden: int
    parameters: int | None = None
    heads: int | None = None

    def sides(self, target: str) -> tuple[int, int]:
        """(inputs, outputs) of one of the matrices q, k, v, proj, fc1, fc2."""
        of_ffn = {"fc1": (self.width, self.hidden), "fc2": (self.hidden, self.width)}
        return of_ffn.get(target, (self.width, self.width))


VIT_B16 = Shape(depth=12, width=768, hidden=3072, parameters=85_798_656, heads=12)  # at 224 px


@dataclass(frozen=True)
class Matrix:
    """One matrix of one block: its target name, the linear layer that holds it, and its rows in that layer.

    timm keeps q, k and v in one layer ``qkv`` of shape (3 D, D); q is its rows [0, D), k [D, 2 D), v [2 D, 3 D).
    parent, attribute: the module that has the layer as an attribute, and the attribute's name.
    """

    target: str
    parent: nn.Module
    attribute: str
    rows: slice

    @property
    def layer(self) -> Any:
        """The layer that holds the matrix now: the frozen linear layer, or a module that a method put in its place."""
        return getattr(self.parent, self.attribute)

    @property
    def inputs(self) -> int:
        return int(getattr(self.layer, "base", self.layer).in_features)

    @property
    def outputs(self) -> int:
        return self.rows.stop - self.rows.start

    def replace_layer(self, new: nn.Module) -> None:
        """Put `new` in the place of the whole layer."""
        setattr(self.parent, self.attribute, new)

    def siblings(self) -> "list[Matrix]":
        """All matrices of the layer, in the order of their rows: q, k and v, or this one alone."""
        if self.attribute != "qkv":
            return [self]
        width = self.outputs
        return [Matrix(target, self.parent, "qkv", slice(i * width, (i + 1) * width)) for i, target in enumerate("qkv")]


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


def matrices(model: nn.Module, targets: Iterable[str]) -> Iterator[Matrix]:
    """The matrices `targets` of every block, block by block, in the order of `targets`."""
    targets = list(targets)
    for _, block in block_paths(model):
        for target in targets:
            yield matrix_of(block, target)


def matrix_of(block: nn.Module, target: str) -> Matrix:
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
        return Matrix(target, parent, attribute, slice(0, base.out_features))
    width = base.out_features // 3
    start = "qkv".index(target) * width
    return Matrix(target, parent, attribute, slice(start, start + width))


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


# -- inside a block --------------------------------------------------------------------------------------------------


def require_plain_block(block: nn.Module, method: str, advice: str = "use a plain ViT") -> None:
    """Raise `UserError` unless `block` is a plain ViT block (a Swin block is not)."""
    if not all(hasattr(block, part) for part in ("norm1", "ls1", "drop_path1", "norm2", "ls2", "drop_path2")):
        raise UserError(f"{method} cannot act inside a {type(block).__name__}; {advice}")


def is_swin_block(block: nn.Module) -> bool:
    """Whether attention of `block` runs in windows."""
    return hasattr(block, "_attn")


def attention_branch(block: Any, x: Tensor, **attention: Any) -> Tensor:
    """What a ViT or Swin block adds to `x` first: attn(norm1(x)) behind layer scale and drop path."""
    if is_swin_block(block):  # it has no layer scale
        return block.drop_path1(block._attn(block.norm1(x)))  # type: ignore[no-any-return]
    return block.drop_path1(block.ls1(block.attn(block.norm1(x), **attention)))  # type: ignore[no-any-return]


def feed_forward_branch(block: Any, x: Tensor) -> Tensor:
    """What a ViT or Swin block adds to `x` second: mlp(norm2(x)) behind layer scale and drop path."""
    branch = block.mlp(block.norm2(x))
    return block.drop_path2(branch if is_swin_block(block) else block.ls2(branch))  # type: ignore[no-any-return]


def heads_of(block: nn.Module, method: str) -> tuple[int, int]:
    """(heads, width d of a head) of a plain ViT block whose attention `attend` can compute; `UserError` otherwise."""
    require_plain_block(block, method)
    attention: Any = block.attn
    known = all(hasattr(attention, part) for part in ("qkv", "q_norm", "k_norm", "num_heads", "norm", "proj"))
    if not known or getattr(attention, "gate", None) is not None:
        raise UserError(
            f"{method} cannot act inside this kind of attention ({type(attention).__name__}); use a plain ViT"
        )
    heads = int(attention.num_heads)
    return heads, matrix_of(block, "q").outputs // heads


def attend(
    attention: Any, x: Tensor, keys: Tensor, values: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
) -> Tensor:
    """The attention of a plain ViT block on x (B, tokens, D), with more keys and values in front, (heads, n, d) each.

    A mask is passed on as it is, so it has a column for each of them.
    """
    q, k, v = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    q, k = attention.q_norm(q), attention.k_norm(k)
    k, v = (
        torch.cat([front.to(own.dtype).expand(len(x), -1, -1, -1), own], dim=2)
        for front, own in ((keys, k), (values, v))
    )
    dropout = attention.attn_drop.p if attention.training else 0.0
    mixed = scaled_dot_product_attention(q, k, v, attn_mask, dropout, is_causal)
    return attention.proj_drop(attention.proj(attention.norm(mixed.transpose(1, 2).flatten(2))))  # type: ignore[no-any-return]


# -- tokens and patches ----------------------------------------------------------------------------------------------


def prefix_tokens(model: nn.Module, method: str) -> int:
    """Number of class and register tokens before the patches; `UserError`, which names `method`, if unknown."""
    prefix = getattr(model, "num_prefix_tokens", None)
    if not isinstance(prefix, int):
        raise UserError(f"{method} does not know where the patches begin in a {type(model).__name__}; use a plain ViT")
    return prefix


def patch_grid(model: nn.Module, method: str) -> tuple[int, int]:
    """(height, width) in patches of the images that a ViT was built for; `UserError`, which names `method`, if
    unknown."""
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if grid is None:
        raise UserError(
            f"{method} cannot adapt a {type(model).__name__}: it has no fixed grid of patches "
            "(`patch_embed.grid_size`); use a plain ViT built for one image size"
        )
    return int(grid[0]), int(grid[1])


def patch_area(model: Any) -> int:
    """Pixels of one patch."""
    return math.prod(model.patch_embed.patch_size)


# -- layers and parameters of the whole network ----------------------------------------------------------------------


def layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """(path, layer) of every linear layer, layer norm and convolution with a weight, except in the head."""
    head = {id(module) for module in model.get_classifier().modules()}  # type: ignore[operator]
    return [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.LayerNorm | nn.Conv2d)
        and isinstance(module.weight, Tensor)
        and id(module) not in head
    ]


def drop_paths(model: nn.Module) -> list[tuple[str, nn.Module, float]]:
    """(path, module, rate) of every module that drops residual branches of whole images."""
    found = [(path, module) for path, module in model.named_modules() if type(module).__name__ == "DropPath"]
    return [(path, module, float(module.drop_prob)) for path, module in found]  # type: ignore[arg-type]


def features(model: Any, images: Tensor) -> Tensor:
    """What the head reads of images (B, C, S, S): (B, D)."""
    return model.forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[no-any-return]


def matrices_in(path: str) -> int:
    """Number of matrices on top of each other in the linear layer at `path`: 3 (q, k, v) or 1."""
    return 3 if path.endswith(".qkv") else 1


def is_patch_merging(path: str) -> bool:
    """Whether `path` is the linear layer that merges patches between two stages of a Swin."""
    return path.endswith(".downsample.reduction")


def is_patch_embedding(name: str) -> bool:
    """Whether a parameter called `name` belongs to the convolution that embeds patches."""
    return name.startswith("patch_embed.proj.")


def norm_paths(model: nn.Module) -> list[str]:
    """Paths of all layer norms of a transformer; `UserError` if it has no blocks."""
    block_paths(model)
    return [path for path, module in model.named_modules() if isinstance(module, nn.LayerNorm)]


def replace(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` where `path` (dotted) points."""
    parent_path, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent_path), name, new)


def head_parameters(model: nn.Module) -> set[str]:
    """Names of the classifier's parameters."""
    head = model.get_classifier()  # type: ignore[operator]
    inside = {id(p) for p in head.parameters()}
    return {name for name, p in model.named_parameters() if id(p) in inside}
