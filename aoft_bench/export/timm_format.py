"""timm's format: model.safetensors with the merged weights, and config.json, which says how to build and feed them.

`timm.create_model("local-dir:DIR", pretrained=True)` and, from the hub, `"hf-hub:REPO"` read both files;
`timm.create_model(NAME, checkpoint_path=DIR/model.safetensors, ...)` needs the arguments under `model_args`.

Source: huggingface/pytorch-image-models 1.0.31, timm/models/_hub.py (`save_config_for_hf`, `_parse_model_cfg`).
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save

from aoft_bench.backbones.networks import created
from aoft_bench.experiments.trained_run import merged_state
from aoft_bench.export.predictor import load_network
from aoft_bench.export.trained_model import TrainedModel
from aoft_bench.utils.errors import UserError


def write_timm(model: TrainedModel, folder: Path) -> float:
    """Write both files into `folder`, read them again, and return the largest difference of a logit.

    Raises `UserError` for a method that cannot be merged.
    """
    try:
        state = merged_state(model.run, model.adapted)
    except UserError as error:
        raise UserError(f"format=timm: {error}; give format=onnx, which holds any network") from None
    content = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    (folder / "model.safetensors").write_bytes(save(content, {"format": "pt"}))
    name, arguments = model.architecture
    taken = {"num_classes": len(model.class_names), "drop_path_rate": 0.0, **arguments}
    network = created(name, taken)  # a network of convolutions takes no img_size
    arguments = {key: value for key, value in arguments.items() if key in taken}
    interpolation = model.preprocessing["interpolation"]
    config = {
        "architecture": name,
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "label_names": list(model.class_names),
        "model_args": arguments,
        "pretrained_cfg": {
            **{key: network.pretrained_cfg.get(key) for key in ("first_conv", "classifier", "fixed_input_size")},
            "num_classes": network.num_classes,
            "custom_load": False,
            **model.preprocessing,
            "interpolation": interpolation.removesuffix("_tf"),
        },
        # timm reads over this
        "aoft_bench": {"record": model.run.record["hash"], "interpolation": interpolation},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with torch.inference_mode():
        return model.check(load_network(folder).model(model.images), "the timm checkpoint")
