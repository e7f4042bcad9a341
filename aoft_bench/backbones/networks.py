"""Pre-trained networks: timm's, or the embedded vit_nano, built and filled from a weight file."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from aoft_bench.backbones.finite import not_finite
from aoft_bench.backbones.layout import classifiers, family_of
from aoft_bench.backbones.read_weights import load_weights
from aoft_bench.backbones.weights import RANDOM_SHA256, RANDOM_WEIGHTS, check_name, weight_file
from aoft_bench.config.schema import BackboneOptions
from aoft_bench.utils.errors import UserError, message_of
from aoft_bench.utils.fast_imports import import_timm

NANO = dict(img_size=32, patch_size=4, embed_dim=128, depth=6, num_heads=4, mlp_ratio=4.0)
NANO_CONFIG = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "input_size": (3, 32, 32)}


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


def timm_arguments(options: BackboneOptions) -> tuple[str, dict[str, Any]]:
    """(name, arguments) with which `timm.create_model` makes the network of `options`, its weights and head apart."""
    asked = {"img_size": options.img_size, **({"global_pool": options.pool} if options.pool else {})}
    if options.timm == "vit_nano":  # a plain ViT of sizes of its own
        return "vit_tiny_patch16_224", NANO | asked
    return options.timm, asked


def build(
    options: BackboneOptions, num_classes: int, *, drop_path: float = 0.0, weights: bool = True, sha256: str = ""
) -> Backbone:
    """The network of `options` with a zero-initialised head of `num_classes`, in training-ready fp32 on the CPU.

    drop_path: rate at the last block; weights=False skips them (for counting on the meta device); sha256: what the
    bytes of the weight file must have, if given.
    Raises `UserError` for unknown names, sizes and kinds of pooling that the network does not take, missing or damaged
    files, another SHA-256, weights of another network, and weights that are not finite or not floating-point numbers.
    """
    path = weight_file(options) if weights else None
    model = _network(options, {"num_classes": num_classes, "drop_path_rate": drop_path})
    own = model.pretrained_cfg
    mean, std = tuple(own["mean"]), tuple(own["std"])
    if options.pos_embed_resize != "bicubic" and getattr(model, "pos_embed", None) is None:
        raise UserError(
            f"backbone.pos_embed_resize: got {options.pos_embed_resize!r}, but {options.timm} has no position "
            "embeddings; leave it at bicubic"
        )
    if path == RANDOM_WEIGHTS:
        path, found = None, RANDOM_SHA256
    else:
        found = load_weights(model, path, sha256, options.pos_embed_resize) if path else ""
    for parameter in (p for classifier in classifiers(model) for p in classifier.parameters()):
        nn.init.zeros_(parameter)
    if path and (broken := not_finite(model.state_dict().items())):
        raise UserError(
            f"{len(broken)} tensors of the weights in {path} hold NaN or infinite values, the first is {broken[0]!r}; "
            "fetch the file again, or give another by backbone.checkpoint"
        )
    return Backbone(model, mean, std, found)


def _network(options: BackboneOptions, extra: dict[str, Any]) -> Any:
    """The network of `options` with random weights; its `pretrained_cfg` is that of its weights, with the size that it
    was built for. extra: of timm's function."""
    timm, size = import_timm(), options.img_size
    name, arguments = timm_arguments(options)
    nano = options.timm == "vit_nano"
    if not nano:
        check_name(options)
    try:
        if nano:
            model = timm.models.vision_transformer.VisionTransformer(**arguments, **extra)
            model.pretrained_cfg = NANO_CONFIG
        else:
            model = created(name, {**arguments, **extra})
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        why = message_of(error, 200)
        if options.pool and "pool" in why.lower():
            raise UserError(f"backbone.pool: {options.timm} has no {options.pool!r} ({why}); leave it out") from None
        raise UserError(f"backbone.img_size: {options.timm} cannot take {size} px ({why}); give another") from None
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", (1,))[0]
    if size % patch:  # timm would cut the rest of the image off
        raise UserError(f"backbone.img_size: got {size}, must be a multiple of {patch} for this one")
    usual = tuple(model.pretrained_cfg["input_size"])
    model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, size, size)}
    families = [family_of(module) for module in model.modules()]
    if usual != (3, size, size) and not any(family and family.tokens == "sequence" for family in families):
        _check_size(model, options)
    return model


def created(name: str, arguments: dict[str, Any]) -> Any:
    """timm's network, without those of `arguments` that it does not have and can do without: networks of convolutions
    take images of any size, and some have no stochastic depth. They are removed from `arguments`."""
    without = {"img_size": True, "drop_path_rate": not arguments["drop_path_rate"]}
    while True:
        try:
            return import_timm().create_model(name, pretrained=False, **arguments)
        except TypeError as error:
            refused = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if not refused or not without.pop(refused[1], False):
                raise
            del arguments[refused[1]]


@torch.no_grad()
def _check_size(model: Any, options: BackboneOptions) -> None:
    """Raise `UserError` where a network of stages was built for a size that it cannot run at: on one black image."""
    like, size = next(model.parameters()), options.img_size
    try:
        model.eval()(torch.zeros(1, 3, size, size, dtype=like.dtype, device=like.device))
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        why = message_of(error, 200)
        raise UserError(f"backbone.img_size: {options.timm} cannot run at {size} px ({why}); give another") from None
    finally:
        model.train()
