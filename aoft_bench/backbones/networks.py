"""Pre-trained networks: timm's, or the embedded vit_nano, built and filled from a weight file."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from aoft_bench.backbones.finite import not_finite
from aoft_bench.backbones.read_weights import load_weights
from aoft_bench.backbones.weights import check_name, weight_file
from aoft_bench.config.schema import BackboneOptions
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.fast_imports import import_timm

NANO = dict(img_size=32, patch_size=4, embed_dim=128, depth=6, num_heads=4, mlp_ratio=4.0)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Backbone:
    """A network with its weights. mean, std: what its inputs in [0, 1] were normalised with in pre-training; sha256:
    of the bytes that the weights were loaded from, empty without weights."""

    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str


def load_backbone(name: str, num_classes: int, checkpoint: str | None = None) -> nn.Module:
    """A pre-trained model by the name of its YAML in conf/backbone, with a new zero-initialised head.

    Raises `UserError` for an unknown name and for weights that are not there.
    """
    from aoft_bench.config.choices import backbone_options  # imports Hydra

    return build(backbone_options(name, **({"checkpoint": checkpoint} if checkpoint else {})), num_classes).model


def build(
    options: BackboneOptions, num_classes: int, *, drop_path: float = 0.0, weights: bool = True, sha256: str = ""
) -> Backbone:
    """The network of `options` with a zero-initialised head of `num_classes`, in training-ready fp32 on the CPU.

    drop_path: rate at the last block; weights=False skips them (for counting on the meta device); sha256: what the
    bytes of the weight file must have, if given.
    Raises `UserError` for unknown names, missing or damaged files, another SHA-256, weights of another network, and
    weights that are not finite or not floating-point numbers.
    """
    path = weight_file(options) if weights else None
    timm = import_timm()
    extra: dict[str, Any] = {"num_classes": num_classes, "drop_path_rate": drop_path}
    if options.timm == "vit_nano":
        if options.img_size % NANO["patch_size"]:
            raise UserError(f"backbone.img_size: got {options.img_size}, must be a multiple of 4 for vit_nano")
        model = timm.models.vision_transformer.VisionTransformer(**{**NANO, "img_size": options.img_size}, **extra)
        mean = std = HALF
    else:
        check_name(options)
        try:
            model = timm.create_model(options.timm, pretrained=False, img_size=options.img_size, **extra)
        except (AssertionError, TypeError, ValueError) as error:
            raise UserError(f"backbone.img_size: {options.timm} cannot take {options.img_size} px ({error})") from None
        patch = getattr(getattr(model, "patch_embed", None), "patch_size", (1,))[0]
        if options.img_size % patch:  # timm would cut the rest of the image off
            raise UserError(f"backbone.img_size: got {options.img_size}, must be a multiple of {patch} for this one")
        mean, std = tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])
    if options.pos_embed_resize != "bicubic" and getattr(model, "pos_embed", None) is None:
        raise UserError(
            f"backbone.pos_embed_resize: got {options.pos_embed_resize!r}, but {options.timm} has no position "
            "embeddings; leave it at bicubic"
        )
    found = load_weights(model, path, sha256, options.pos_embed_resize) if path else ""
    for parameter in model.get_classifier().parameters():
        nn.init.zeros_(parameter)
    if path and (broken := not_finite(model.state_dict().items())):
        raise UserError(
            f"{len(broken)} tensors of the weights in {path} hold NaN or infinite values, the first is {broken[0]!r}; "
            "fetch the file again, or give another by backbone.checkpoint"
        )
    return Backbone(model, mean, std, found)
