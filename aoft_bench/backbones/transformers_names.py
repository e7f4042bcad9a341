"""Weights that Hugging Face transformers saved: its plain ViT and DINOv2, with and without registers, in timm's names.

A folder of `save_pretrained`, and a repository at the hub, has the tensors in model.safetensors and what they do not
tell (number of heads, activation) in config.json. Files keep these names in all versions of transformers so far, also
where its modules are called otherwise. Source: files and forward passes of transformers 5.23.0.

Layer norms keep timm's epsilon. It is 1e-6, as in the original code of these networks and in transformers' DINOv2;
transformers' ViT adds 1e-12 (docs/weights.md says what that changes).
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import read_regular

MODELS = ("vit", "dinov2", "dinov2_with_registers")  # config.json's model_type; also the prefix of names with a head
_MARK = "embeddings.patch_embeddings.projection.weight"  # no other layout has this name
_LARGEST = 1 << 20  # bytes of a config.json
EPS = 1e-6  # of timm's layer norms

_WHOLE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
}
_IN_BLOCK = {
    "layernorm_before": "norm1",
    "norm1": "norm1",
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layernorm_after": "norm2",
    "norm2": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "mlp.weights_in": "mlp.fc1",  # SwiGLU: gate, then value, as in timm's GluMlp
    "mlp.weights_out": "mlp.fc2",
    "layer_scale2.lambda1": "ls2.gamma",
}
_QKV = tuple(f"attention.attention.{part}" for part in ("query", "key", "value"))
_NOT_USED = ("pooler.", "classifier.", "decoder.", "embeddings.mask_token")


def is_transformers(state: dict[str, Tensor]) -> bool:
    """Whether the names of a file's tensors are transformers'."""
    return any(name.endswith(_MARK) for name in state)


def to_timm(state: dict[str, Tensor], model: nn.Module, path: Path) -> dict[str, Tensor]:
    """The tensors of transformers' file `path` in the names and shapes of the timm network `model`.

    Tensors that no rule knows keep their names. Raises `UserError` if config.json is missing or of another network.
    """
    _check_config(_read_config(path.parent), model, path.parent)
    state = {re.sub(rf"^({'|'.join(MODELS)})\.", "", name): tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_NOT_USED)}
    return _class_position(_joined({_renamed(name): tensor for name, tensor in state.items()}), model)


def _renamed(name: str) -> str:
    owner, _, kind = name.rpartition(".")
    if name in _WHOLE or owner in _WHOLE:
        return _WHOLE.get(name) or f"{_WHOLE[owner]}.{kind}"
    if not (block := re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", name)):
        return name
    number, inside = block.groups()
    owner, _, kind = inside.rpartition(".")
    theirs = _IN_BLOCK.get(inside) or (f"{_IN_BLOCK[owner]}.{kind}" if owner in _IN_BLOCK else inside)
    return f"blocks.{number}.{theirs}"


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """q, k and v of each block in one tensor, as timm keeps them."""
    out = dict(state)
    for name in state:
        block, found, kind = name.partition(f".{_QKV[0]}.")
        parts = [f"{block}.{part}.{kind}" for part in _QKV]
        if found and all(part in state for part in parts):
            out[f"{block}.attn.qkv.{kind}"] = torch.cat([out.pop(part) for part in parts])
    return out


def _class_position(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Add the class token's position to the token, for networks whose position embeddings are those of patches only."""
    embed = state.get("pos_embed")
    if embed is None or "cls_token" not in state or not getattr(model, "no_embed_class", False):
        return state
    return {**state, "cls_token": state["cls_token"] + embed[:, :1], "pos_embed": embed[:, 1:]}


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.exists():
        raise UserError(
            f"the weights in {folder} have the names of Hugging Face transformers, but no config.json is beside them; "
            "put it there: it says how many heads the network has"
        )
    try:
        config = json.loads(read_regular(path, _LARGEST))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; save the model again") from None
    except ValueError:  # no JSON, no UTF-8
        raise UserError(f"cannot read {path}: it is no JSON; save the model again") from None
    if not isinstance(config, dict):
        raise UserError(f"cannot read {path}: it holds no options of a model; save the model again")
    return config


def _check_config(config: dict[str, Any], model: Any, folder: Path) -> None:
    """Refuse what the tensors do not show: another kind of model, number of heads or activation."""
    kind = config.get("model_type")
    if kind not in MODELS:
        raise UserError(
            f"{folder / 'config.json'}: model_type is {kind!r}, and only {', '.join(MODELS)} are read from a folder of "
            "transformers; give one of those, or a file with timm's names"
        )
    # option: its default in transformers, what is allowed
    wanted: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "hidden_act": ("gelu", ("gelu",)),
        "layer_norm_eps": (EPS, (1e-12, EPS)),
    }
    if blocks := getattr(model, "blocks", None):
        wanted["num_attention_heads"] = (12, (blocks[0].attn.num_heads,))
    for option, (default, allowed) in wanted.items():
        if (got := config.get(option, default)) not in allowed:
            raise UserError(
                f"{folder} holds weights of another network: {option} is {got!r}, not "
                f"{' or '.join(map(repr, allowed))}; choose the backbone that the folder belongs to"
            )
