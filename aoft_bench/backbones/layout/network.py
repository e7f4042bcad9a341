"""The network around its blocks: tokens, patches, norms, layers, the head, and what moves without being trained."""

import math
from typing import Any

from torch import Tensor, nn

from aoft_bench.backbones.layout.blocks import put
from aoft_bench.backbones.layout.chosen import acted_on, all_blocks, block_paths
from aoft_bench.backbones.layout.families import UNKNOWN, Family, family_of
from aoft_bench.utils.errors import UserError

CLASS_TOKEN = "cls_token"  # name of the parameter, where a network has one
# modules that compute a bias from relative positions; their layers see no tokens
OF_POSITIONS = ("cpb_mlp", "rel_pos")
# feed-forward parts of timm with two dropouts
WITH_DROPOUTS = ("Mlp", "GluMlp", "SwiGLU", "GlobalResponseNormMlp")


# -- tokens and patches ----------------------------------------------------------------------------------------------


def prefix_tokens(model: nn.Module, method: str) -> int:
    """Number of class, distillation and register tokens before the patches; `UserError`, which names `method`, if
    unknown."""
    prefix = getattr(model, "num_prefix_tokens", None)
    if not isinstance(prefix, int):
        raise UserError(f"{method} does not know where the patches begin in a {type(model).__name__}; use a plain ViT")
    return prefix


def require_class_token(model: nn.Module, method: str) -> None:
    """Raise `UserError`, which names `method`, unless one linear head reads the class token, the first one."""
    pooled, heads = getattr(model, "global_pool", "unknown"), classifiers(model)
    if pooled != "token" or not prefix_tokens(model, method) or not isinstance(heads[0], nn.Linear) or heads[1:]:
        raise UserError(
            f"{method} needs a network whose head reads the class token, this {type(model).__name__} pools its tokens "
            f"({pooled}) or has another head; use a plain ViT with a class token"
        )


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


def image_size(model: Any) -> tuple[int, int]:
    """(height, width) of the images that a network was built for, or of its weights' own where it takes others."""
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    size = size or (getattr(model, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))[1:]
    return int(size[0]), int(size[1])


# -- layers and parameters -------------------------------------------------------------------------------------------


def classifiers(model: Any) -> list[nn.Module]:
    """The classifier, or both of a distilled network."""
    found = model.get_classifier()
    return list(found) if isinstance(found, tuple | list) else [found]


def classes_of(model: nn.Module) -> int:
    """Number of classes of the linear classifier."""
    head: Any = classifiers(model)[0]
    return int(head.out_features)


def widen_head(model: nn.Module, inputs: int) -> None:
    """Give the linear classifier `inputs` inputs, in place: its own weights for the first, zeros for the others."""
    head: Any = classifiers(model)[0]
    weight = head.weight.new_zeros(head.out_features, inputs)
    weight[:, : head.in_features] = head.weight.detach()
    head.weight, head.in_features = nn.Parameter(weight), inputs


def head_parameters(model: nn.Module) -> set[str]:
    """Names of the classifier's parameters."""
    inside = {id(p) for classifier in classifiers(model) for p in classifier.parameters()}
    return {name for name, p in model.named_parameters() if id(p) in inside}


def layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """(path, layer) of every linear layer, layer norm and convolution with a weight that sees tokens or pixels, except
    in the head, and outside the chosen blocks."""
    head = {id(module) for classifier in classifiers(model) for module in classifier.modules()}
    acts = acted_on(model)
    return [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.LayerNorm | nn.Conv2d)
        and acts(path)
        and isinstance(module.weight, Tensor)
        and id(module) not in head
        and not any(part in OF_POSITIONS for part in path.split("."))
    ]


def channels_first(layer: nn.Module) -> bool:
    """Whether the output of a layer is (B, C, height, width), and not (..., C)."""
    return isinstance(layer, nn.Conv2d) or type(layer).__name__ == "LayerNorm2d"


def drop_paths(model: nn.Module) -> list[tuple[str, nn.Module, float]]:
    """(path, module, rate) of every module that drops residual branches of whole images."""
    found = [(path, module) for path, module in model.named_modules() if type(module).__name__ == "DropPath"]
    return [(path, module, float(module.drop_prob)) for path, module in found]  # type: ignore[arg-type]


def feed_forward_layers(model: nn.Module) -> list[Any]:
    """Every feed-forward part whose dropouts, after its activation and at its end, are `drop1` and `drop2`."""
    return [module for module in model.modules() if type(module).__name__ in WITH_DROPOUTS]


def features(model: Any, images: Tensor) -> Tensor:
    """What the head reads of images (B, C, S, S): (B, D)."""
    return model.forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[no-any-return]


def bias_patterns(model: nn.Module, under: str = "") -> list[str]:
    """Shell patterns of all biases, of those below the path `under`: of layers, and of attentions that keep theirs of q
    and v apart."""
    names = [name for name, _ in model.named_parameters() if name.startswith(under)]
    endings = [end for end in ("bias", *Family.biases) if any(name.endswith(f".{end}") for name in names)]
    return [f"{under}*.{end}" for end in endings]


def norm_paths(model: nn.Module) -> list[str]:
    """Paths of all layer norms with a weight that a method acts on; `UserError` if the network has no blocks."""
    block_paths(model)
    acts = acted_on(model)
    norms = (path for path, module in model.named_modules() if isinstance(module, nn.LayerNorm) and _has_weight(module))
    return [path for path in norms if acts(path)]


def final_norm(model: nn.Module) -> str:
    """Path of the first layer norm after the last block; `UserError` if there is none."""
    blocks = [path for path, _ in all_blocks(model)]
    paths = [path for path, _ in model.named_modules()]
    norms = set(norm_paths(model))
    after = paths[paths.index(blocks[-1]) :]
    found = [p for p in after if p in norms and not any(p.startswith(f"{block}.") for block in blocks)]
    if not found:
        name = type(model).__name__
        raise UserError(f"cannot adapt a {name}: it has no layer norm between its blocks and its head; use a plain ViT")
    return found[0]


def _has_weight(module: nn.Module) -> bool:
    return isinstance(module.weight, Tensor)


def is_patch_merging(path: str) -> bool:
    """Whether `path` is the linear layer that merges patches between two stages of a Swin."""
    return path.endswith(".downsample.reduction")


def is_patch_embedding(name: str) -> bool:
    """Whether a parameter called `name` belongs to the convolution that embeds patches."""
    return name.startswith("patch_embed.proj.")


def replace(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` where `path` (dotted) points."""
    parent_path, _, name = path.rpartition(".")
    put(model.get_submodule(parent_path), name, new)


# -- networks of no known family, and what moves without being trained ----------------------------------------------


def is_known(model: nn.Module) -> bool:
    """Whether all blocks of a network are of a known family, and it has some."""
    found = [family_of(module) for module in model.modules()]
    return UNKNOWN not in found and any(found)


def fix_running_statistics(model: nn.Module) -> None:
    """Let norms that keep statistics of batches (BatchNorm) use those of pre-training, in training too, for good.

    They are part of what is frozen: what a trained network computes is then known from its trained parameters, and does
    not depend on how many processes divide a batch.
    """
    norms = [module for module in model.modules() if isinstance(getattr(module, "running_mean", None), Tensor)]
    if norms:
        model.register_forward_pre_hook(_without_batch_statistics)


def _without_batch_statistics(model: nn.Module, inputs: Any) -> None:
    for module in model.modules():
        if isinstance(getattr(module, "running_mean", None), Tensor):
            module.eval()
