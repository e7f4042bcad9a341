"""A tiny network of every family, by timm's own functions with smaller sizes: random weights, no download.

The tests run every method over them, and docs/networks.md is made of them (`aoft-bench list networks --markdown`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from aoft_bench.utils.fast_imports import import_timm


@dataclass(frozen=True)
class Tiny:
    """timm: an architecture of the family; sizes: what is smaller; px: side of its images; known: whether the layout
    has an entry for it (those without are there to show what is refused)."""

    timm: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    px: int = 16
    known: bool = True


_VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
_EVA = {**_VIT, "embed_dim": 48}
_SWIN = {"img_size": 32, "window_size": 4, "embed_dim": 32, "depths": (1, 1), "num_heads": (1, 2)}

TINY = {
    "ViT": Tiny("vit_tiny_patch16_224", _VIT),
    "ViT (MAE)": Tiny("vit_base_patch16_224", {**_VIT, "global_pool": "avg"}),
    "CLIP": Tiny("vit_base_patch16_clip_quickgelu_224", _VIT),
    "SigLIP, SigLIP 2": Tiny("vit_base_patch16_siglip_224", _VIT),
    "DeiT III": Tiny("deit3_small_patch16_224", _VIT),
    "DINOv2, registers": Tiny("vit_small_patch14_reg4_dinov2", _VIT),
    "DINOv2 giant (SwiGLU)": Tiny("vit_giant_patch14_dinov2", {**_VIT, "mlp_ratio": 4}),
    "EVA-02": Tiny("eva02_base_patch14_224", _EVA),
    "EVA-02 tiny, small": Tiny("eva02_tiny_patch14_224", _EVA),
    "DINOv3": Tiny("vit_small_patch16_dinov3", {**_VIT, "global_pool": "token"}),
    "BEiT v2": Tiny("beitv2_base_patch16_224", _VIT),
    "Swin": Tiny("swin_tiny_patch4_window7_224", _SWIN, 32),
    "Swin v2": Tiny("swinv2_tiny_window8_256", _SWIN, 32),
    "Hiera": Tiny(
        "hiera_tiny_224",
        {"img_size": 32, "embed_dim": 32, "stages": (1, 1), "q_pool": 1, "mask_unit_size": (4, 4),
         "mask_unit_attn": (True, False)},
        32,
    ),
    "MViT v2": Tiny(
        "mvitv2_tiny",
        {"img_size": 32, "depths": (1, 1), "embed_dim": (32, 64), "num_heads": (1, 2), "stride_q": ((1, 1), (2, 2))},
        32,
    ),
    "ConvNeXt v2": Tiny("convnextv2_tiny", {"depths": (1, 1, 1, 1), "dims": (32, 32, 32, 64)}, 32),
    "ViT, relative positions": Tiny("vit_relpos_small_patch16_224", _VIT),
    "DeiT, distilled": Tiny("deit_tiny_distilled_patch16_224", _VIT),
    "CaiT": Tiny("cait_xxs24_224", {**_VIT, "depth_token_only": 1}),
    "PVT v2": Tiny("pvt_v2_b0", {"depths": (1, 1, 1, 1), "embed_dims": (32, 32, 40, 64)}, 32, known=False),
    "MaxViT": Tiny(
        "maxvit_rmlp_pico_rw_256",
        {"img_size": 64, "embed_dim": (32, 32, 32, 64), "depths": (1, 1, 1, 1)},
        64,
        known=False,
    ),
    "parallel ViT": Tiny("vit_small_patch16_18x2_224", _VIT, known=False),
    "ResNet": Tiny("resnet18", {"layers": (1, 1, 1, 1), "channels": (16, 16, 32, 32)}, 32, known=False),
    "MobileViT": Tiny("mobilevitv2_050", {}, 64, known=False),
}  # fmt: skip


def tiny(family: str, **options: Any) -> nn.Module:
    """The tiny network of a family, in evaluation mode, with its head; random numbers come from torch's global
    generator. options: of timm's function."""
    chosen = TINY[family]
    sizes = {"num_classes": 5, **chosen.sizes, **options}
    timm = import_timm()
    if chosen.timm == "mvitv2_tiny":  # its function takes no sizes
        names = {"depths", "embed_dim", "num_heads", "stride_q"} & sizes.keys()
        config = timm.models.mvitv2.MultiScaleVitCfg(**{name: sizes.pop(name) for name in names})
        model = timm.models.mvitv2.MultiScaleVit(config, **sizes)
    else:
        model = timm.create_model(chosen.timm, **sizes)
    model.pretrained_cfg = {"input_size": (3, chosen.px, chosen.px)}  # where a network does not know its own
    return model.eval()  # type: ignore[no-any-return]
