r"""PEFT's format: a low-rank method as a LoRA adapter of the network, with the head, for Hugging Face's peft.

Each method of the form W + B A^T is one: a layer of k columns is LoRA of rank k with lora_alpha = k, so that the scale
lora_alpha / r is 1. q and v, which timm keeps as rows of one layer qkv, are one LoRA of rank 2 r:

    lora_A = [A_q, A_v]^T  (2 r, D)        lora_B = [[B_q, 0], [0, 0], [0, B_v]]  (3 D, 2 r)

Source: huggingface/peft 0.21.2, src/peft/tuners/lora (`rank_pattern`, `alpha_pattern`), utils/save_and_load.py.
"""

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aoft_bench.backbones.weights import NANO_WEIGHTS
from aoft_bench.export.trained_model import TrainedModel
from aoft_bench.methods import Handle
from aoft_bench.methods.parts.mergeable import Mergeable
from aoft_bench.methods.parts.merged_linear import AdaptedLinear
from aoft_bench.records.schema import Record
from aoft_bench.utils.errors import UserError

Adapter = dict[str, tuple[Tensor, Tensor]]  # path of a layer -> lora_A (k, in), lora_B (out, k)


def write_peft(model: TrainedModel, folder: Path) -> float:
    """Write adapter_config.json and adapter_model.safetensors by peft, load them by peft, and return the largest
    difference of a logit. Raises `UserError` for a method that is not additive and low-rank, and without peft.
    """
    handle = model.adapted.handle
    adapter = low_rank_layers(handle)
    if not adapter:
        raise UserError(
            f"format=peft: {model.run.config.method.label} is not a low-rank update of linear layers and nothing else; "
            f"give format={'timm' if handle.mergeable else 'onnx'}"
        )
    peft = _library()
    head = _head_path(model.adapted.model)
    ranks = {path: len(a) for path, (a, _) in adapter.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    others = {path: own for path, own in ranks.items() if own != rank}
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=rank,
        rank_pattern=others,
        alpha_pattern=dict(others),
        target_modules=list(adapter),
        modules_to_save=[head],
        base_model_name_or_path=base_name(model.run.record),
    )
    trained_head = model.adapted.model.get_submodule(head).state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside of peft and what it imports
        network = peft.get_peft_model(model.run.backbone().model, config)
        state = {f"base_model.model.{head}.{name}": tensor for name, tensor in trained_head.items()}
        for path, (a, b) in adapter.items():
            state[f"base_model.model.{path}.lora_A.weight"] = a
            state[f"base_model.model.{path}.lora_B.weight"] = b
        peft.set_peft_model_state_dict(network, state)
        network.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # ours says more
        again = peft.PeftModel.from_pretrained(model.run.backbone().model, str(folder)).eval()
    with torch.inference_mode():
        return model.check(again(model.images), "the PEFT adapter")


@torch.no_grad()
def low_rank_layers(handle: Handle) -> Adapter:
    """The updates of each layer as one LoRA; empty for a method that changes anything else, or nothing."""
    found: Adapter = {}
    for path, module in handle.model.named_modules():
        if type(module) is AdaptedLinear:
            pairs = module.factors()
            a = torch.cat([a.T for a, _ in pairs])
            b = a.new_zeros(module.base.out_features, len(a))
            start = 0
            for rows, (_, own) in zip(module.rows.values(), pairs, strict=True):
                b[rows, start : start + own.shape[1]] = own
                start += own.shape[1]
            found[path] = (a.contiguous(), b)
        elif isinstance(module, Mergeable):
            return {}
    inside = (*(f"{path}." for path in found), f"{_head_path(handle.model)}.")
    return found if all(name.startswith(inside) for name, _ in handle.trained()) else {}


def base_name(record: Record) -> str:
    """What peft calls the network that the adapter belongs to: a repository of the hub, or the name of a file."""
    config, source = record["config"]["backbone"], str(record["weights"]["source"])
    if config["timm"] == "vit_nano" and not config["checkpoint"]:
        return NANO_WEIGHTS.name
    return source if config["checkpoint"] else f"timm/{source}"


def _head_path(model: Any) -> str:
    """Path of the linear layer of the head."""
    head = model.get_classifier()
    return next(path for path, module in model.named_modules() if module is head)


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside transformers and accelerate, which peft imports
            import peft
    except ImportError as error:
        raise UserError(
            f"format=peft needs the peft library ({error}); pip install -e '.[peft]' in the checkout"
        ) from None
    return peft
