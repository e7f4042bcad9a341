"""Blocks: which there are, their sublayers and residual branches, and what a method may need of them."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from aoft_bench.backbones.layout.families import Family, family_of
from aoft_bench.utils.errors import UserError

# what a method may need of a block:
#   attention      an attention that gives tokens (..., D), and of which the block reads nothing else
#   tokens         the block gives tokens (..., D), and nothing else
#   branches       it adds its two branches to tokens of one width, (B, N, D) or (B, height, width, D)
#   sequence       the same (B, prefix + patches, D) in all blocks
#   more tokens    attention that sees tokens which are neither prefix nor patch
Parts = Literal["attention", "tokens", "branches", "sequence", "more tokens"]
_KINDS = {
    "attention": ("sequence", "image"),
    "tokens": ("sequence", "image", "units"),
    "branches": ("sequence", "image"),
    "sequence": ("sequence",),
    "more tokens": ("sequence",),
}
_WITHOUT = {
    "attention": "it has no attention that gives tokens and nothing else",
    "tokens": "it does not give tokens (..., D) and nothing else",
    "branches": "it does not add its attention and its feed-forward part to tokens of one width",
    "sequence": "its tokens are not one sequence that all blocks share",
    "more tokens": "its attention has a bias for each pair of positions, and none for prompts",
}


def the_family_of(block: nn.Module) -> Family:
    """The entry of a block; `UserError` for another module."""
    family = family_of(block)
    if family is None:
        name = type(block).__name__
        raise UserError(f"a {name} is no block of a known family of networks; docs/networks.md has those that are")
    return family


def put(parent: nn.Module, attribute: str, new: nn.Module) -> None:
    """Put `new` in the place of the module `attribute` of `parent`, and have it called.

    Some attentions multiply by the weight of the layer of q, k and v themselves, with biases of their own. They are
    told to call the layer and add the biases afterwards.
    """
    if hasattr(parent, Family.separate):
        setattr(parent, Family.separate, True)
    setattr(parent, attribute, new)


def require(block: nn.Module, method: str, *parts: Parts, advice: str = "use a plain ViT") -> None:
    """Raise `UserError`, which names `method`, unless `block` has these parts."""
    family = the_family_of(block)
    for part in parts:
        if family.tokens not in _KINDS[part] or (part == "more tokens" and not family.prompts):
            why = "it is of no known family" if family.tokens == "unknown" else _WITHOUT[part]
            raise UserError(f"{method} cannot act inside a {type(block).__name__}: {why}; {advice}")


def on_images(block: nn.Module) -> bool:
    """Whether the tokens of `block` are an image (B, height, width, D)."""
    return the_family_of(block).tokens == "image"


# -- sublayers and branches ------------------------------------------------------------------------------------------


def attention_branch(block: nn.Module, x: Tensor, **attention: Any) -> Tensor:
    """What a block adds to x (..., D) first: its attention, with norm, scale and drop path."""
    family = the_family_of(block)
    return _branch(block, family, 0, family.attend or family.attention, x, attention)


def feed_forward_branch(block: nn.Module, x: Tensor) -> Tensor:
    """What a block adds to x (..., D) second: its feed-forward part, with norm, scale and drop path."""
    family = the_family_of(block)
    return _branch(block, family, 1, family.feed_forward, x, {})


def _branch(block: Any, family: Family, which: int, name: str, x: Tensor, extra: dict[str, Any]) -> Tensor:
    sublayer, norm = getattr(block, name), getattr(block, family.norms[which])
    y = norm(sublayer(x, **extra)) if family.norm_after else sublayer(norm(x), **extra)
    scale = getattr(block, family.scales[which], None)
    if scale is not None:
        y = scale(y) if isinstance(scale, nn.Module) else scale * y
    return getattr(block, family.drop_paths[which])(y)  # type: ignore[no-any-return]


# -- attention -------------------------------------------------------------------------------------------------------


def heads_of(block: nn.Module, method: str) -> int:
    """Number of heads of a block's attention; `UserError`, which names `method`, if there is none."""
    family = the_family_of(block)
    heads = getattr(getattr(block, family.attention, None), family.heads, None)
    if not isinstance(heads, int):
        raise UserError(f"{method} cannot act inside a {type(block).__name__}: it has no heads; use a plain ViT")
    return heads


def require_plain_attention(block: nn.Module, method: str) -> None:
    """Raise `UserError`, which names `method`, unless `attend` can compute the attention of a block."""
    family = the_family_of(block)
    attention: Any = getattr(block, family.attention, None)
    if attention is None:
        raise UserError(f"{method} cannot act inside a {type(block).__name__}: it has no attention; use a plain ViT")
    kind = f"{type(attention).__module__.rpartition('.')[2]}.{type(attention).__name__}"
    if family.plain != kind or getattr(attention, "gate", None) is not None:
        raise UserError(
            f"{method} cannot act inside a {type(block).__name__}: this kind of attention "
            f"({type(attention).__name__}) is not the plain one of timm.layers; use a plain ViT"
        )


def attend(
    attention: Any, x: Tensor, keys: Tensor, values: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
) -> Tensor:
    """The attention of a plain ViT block on x (B, tokens, D), with more keys and values in front, (heads, n, d) each.

    A mask is passed on as it is, so it has a column for each of them.
    """
    q, k, v = _of_heads(attention, x)
    k, v = (
        torch.cat([front.to(own.dtype).expand(len(x), -1, -1, -1), own], dim=2)
        for front, own in ((keys, k), (values, v))
    )
    return _mixed(attention, q, k, v, attn_mask, is_causal)


def queried_branch(block: Any, queries: Tensor, x: Tensor) -> Tensor:
    """What attention of a plain ViT block adds to `queries` (B, n, D) that ask the tokens x (B, tokens, D).

    The queries are no keys and no values, so x does not see them, and no gradient reaches x.
    """
    q, _, _ = _of_heads(block.attn, block.norm1(queries))
    with torch.no_grad():
        _, k, v = _of_heads(block.attn, block.norm1(x))
    return block.drop_path1(block.ls1(_mixed(block.attn, q, k, v)))  # type: ignore[no-any-return]


def _of_heads(attention: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v of tokens x (B, tokens, D), (B, heads, tokens, d) each."""
    q, k, v = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return attention.q_norm(q), attention.k_norm(k), v


def _mixed(
    attention: Any, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
) -> Tensor:
    """The output of attention (B, tokens of q, D)."""
    dropout = attention.attn_drop.p if attention.training else 0.0
    mixed = scaled_dot_product_attention(q, k, v, attn_mask, dropout, is_causal)
    return attention.proj_drop(attention.proj(attention.norm(mixed.transpose(1, 2).flatten(2))))  # type: ignore[no-any-return]


def expect_prompts(block: nn.Module, prompts: int) -> None:
    """Tell a block's attention that `prompts` more tokens stand between prefix and patches: they have no rotary
    embedding, as the prefix has none."""
    family = the_family_of(block)
    if family.room is not None:
        attention = getattr(block, family.attention)
        setattr(attention, family.room, getattr(attention, family.room) + prompts)
