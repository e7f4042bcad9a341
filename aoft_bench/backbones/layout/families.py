"""What each family of timm's networks calls the parts of its blocks. One entry a kind of block.

A pre-norm block computes, and a post-norm block (`norm_after`),

    x = x + drop_path(scale * attn(norm(x)));   x = x + drop_path(scale * mlp(norm(x)))
    x = x + drop_path(scale * norm(attn(x)));   x = x + drop_path(scale * norm(mlp(x)))

Source: timm 1.0.31, the files of timm/models that the entries name.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

# how tokens go from block to block:
#   sequence  (B, prefix + patches, D), the same number and width in all blocks, patches row by row
#   image     (B, height, width, D), in stages
#   units     (B, N, D), in stages, the patches ordered by the units that attention sees
#   pair      tokens (B, N, D) together with their grid, in stages
#   channels  (B, D, height, width), in stages
#   unknown
Tokens = Literal["sequence", "image", "units", "pair", "channels", "unknown"]


@dataclass(frozen=True)
class Family:
    """The parts of one kind of block, by timm's names. A name that a block does not have is of an optional part.

    title: of the family; block: file and class in timm.models.
    attention, feed_forward: the two sublayers; attend: what is called for the first one, where that is a method of
    the block that divides the image into windows.
    norms, scales, drop_paths: those of the two branches; scales are modules or tensors; norm_after: as above.
    fused, split: the layer or layers of q, k and v; proj: the last layer of attention; fc1, gated, fc2: the first layer
    of the feed-forward part, its first layers where it is a SwiGLU of two, and its last one.
    biases: of q, k and v, where the attention holds them, and not the layer; separate: set to True, attention adds them
    to what the layer gives. It multiplies by the layer's weight itself otherwise, and never calls what stands there.
    heads: number of heads; room: number of tokens in front that no rotary embedding is for.
    plain: class of an attention that `attend` computes; tokens: as above; prompts: whether attention can see more
    tokens than patches and prefix, which a bias for each pair of positions rules out.
    """

    title: str
    block: str
    attention: str = "attn"
    feed_forward: str = "mlp"
    attend: str | None = None
    norms: tuple[str, str] = ("norm1", "norm2")
    norm_after: bool = False
    scales: tuple[str, str] = ("ls1", "ls2")
    drop_paths: tuple[str, str] = ("drop_path1", "drop_path2")
    fused: str = "qkv"
    split: tuple[str, str, str] = ("q_proj", "k_proj", "v_proj")
    proj: str = "proj"
    fc1: str = "fc1"
    gated: tuple[str, str] = ("fc1_g", "fc1_x")
    fc2: str = "fc2"
    biases: tuple[str, ...] = ("q_bias", "v_bias")
    separate: str = "qkv_bias_separate"
    heads: str = "num_heads"
    room: str | None = None
    plain: str | None = None
    tokens: Tokens = "unknown"
    prompts: bool = False


def _vit(title: str, block: str, **parts: object) -> Family:
    return Family(title, block, **{"tokens": "sequence", "prompts": True, **parts})  # type: ignore[arg-type]


FAMILIES = (
    _vit("ViT", "vision_transformer.Block", plain="attention.Attention"),
    _vit("ViT, post-norm", "vision_transformer.ResPostBlock", plain="attention.Attention", norm_after=True),
    _vit("ViT, relative positions", "vision_transformer_relpos.RelPosBlock", prompts=False),
    _vit("ViT, relative positions", "vision_transformer_relpos.ResPostRelPosBlock", prompts=False, norm_after=True),
    _vit("EVA-02, DINOv3", "eva.EvaBlock", scales=("gamma_1", "gamma_2"), room="num_prefix_tokens"),
    _vit("EVA, post-norm", "eva.EvaBlockPostNorm", room="num_prefix_tokens", norm_after=True),
    _vit("BEiT v2", "beit.Block", scales=("gamma_1", "gamma_2"), prompts=False),
    Family("Swin", "swin_transformer.SwinTransformerBlock", attend="_attn", tokens="image"),
    Family("Swin v2", "swin_transformer_v2.SwinTransformerV2Block", attend="_attn", tokens="image", norm_after=True),
    Family("Hiera", "hiera.HieraBlock", heads="heads", tokens="units"),
    Family("MViT v2", "mvitv2.MultiScaleBlock", split=("q", "k", "v"), tokens="pair"),
    Family("ConvNeXt v2", "convnext.ConvNeXtBlock", norms=("norm", "norm"), scales=("gamma", "gamma"),
           drop_paths=("drop_path", "drop_path"), tokens="channels"),
    Family("CaiT", "cait.LayerScaleBlock", scales=("gamma_1", "gamma_2")),
    Family("CaiT", "cait.LayerScaleBlockClassAttn", scales=("gamma_1", "gamma_2"), split=("q", "k", "v")),
)  # fmt: skip
UNKNOWN = Family("", "")
_BY_BLOCK = {family.block: family for family in FAMILIES}


def family_of(block: nn.Module) -> Family | None:
    """The entry of a block; `UNKNOWN` for another module with an `attn` and an `mlp`; None for one that is no block."""
    for cls in type(block).__mro__:
        if cls.__module__.startswith("timm.models."):
            found = _BY_BLOCK.get(f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}")
            if found is not None:
                return found
    parts = (getattr(block, UNKNOWN.attention, None), getattr(block, UNKNOWN.feed_forward, None))
    return UNKNOWN if all(isinstance(part, nn.Module) for part in parts) else None
