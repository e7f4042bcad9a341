"""The model card of an exported folder: README.md, as the Hugging Face hub shows it."""

import yaml

from aoft_bench.export.peft_format import base_name
from aoft_bench.export.trained_model import TrainedModel
from aoft_bench.records.files import command_of
from aoft_bench.results.accuracy_table import accuracy_table
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.writers.markdown import escaped, to_markdown
from aoft_bench.utils.fast_imports import import_timm
from aoft_bench.utils.text import one_line

SHOWN = 20  # classes


def card(model: TrainedModel, kind: str, difference: float) -> str:
    """The text of README.md. kind: the format; difference: largest difference of a logit from the trained model's."""
    record = model.run.record
    data, metrics, counts, weights = (record[name] for name in ("data", "metrics", "parameters", "weights"))
    method, dataset, licence = escaped(record["method"]), escaped(record["dataset"]), _licence(model)
    head = {
        "library_name": kind,
        "pipeline_tag": "image-classification",
        "license": licence or "unknown",
        "tags": ["image-classification", "aoft_bench", str(record["config"]["method"]["name"])],
        **({"base_model": name} if (name := base_name(record)).startswith("timm/") else {}),
    }
    names = ", ".join(map(escaped, model.class_names[:SHOWN])) + (", ..." if len(model.class_names) > SHOWN else "")
    official = "the official images" if data["official"] else f"not proven to be official ({data['official_note']})"
    origin = f"`{one_line(base_name(record))}` (SHA-256 {weights['sha256']})"
    return f"""---
{yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip()}
---

# {method} on {dataset}

{escaped(record["backbone"])}, fine-tuned on {dataset} ({len(model.class_names)} classes) by aoft_bench. Top-1 on
{metrics["split"]}: {metrics["top1"]:.2f} % ({metrics["correct"]:,} of {metrics["total"]:,} images), of one run with
seed {record["seed"]}. {counts["trained"]:,} parameters were trained, and {counts["head"]:,} of the head.

## Use

{_USE[kind](model)}

The classes are {names}.

## Result

{to_markdown([accuracy_table(one) for one in build_comparisons([record])])}
* Record: `{record["hash"]}`, in this folder as `{model.run.path.name}`.
* Command: `{command_of(record) or "not recorded"}`
* Scored in {record["precision"]} on {escaped(str(record["hardware"].get("device")))}. The weights here are float32.
* Checked when it was exported: the logits of {len(model.images)} training images differ by at most
  {difference:.1g} from those of the trained model.

## Data

{escaped(data["source_note"] or data["source"])}; {escaped(official)}. Images
{_preparation(model)}.

## Licence

The network is made from {origin}, whose licence is {licence or "not known here"}. It was trained on the images of
{dataset}, whose licence is not known here. Both hold for what is made of them.
"""


def _preparation(model: TrainedModel) -> str:
    p = model.preprocessing
    how = f"resized to a short side of {model.cropped} px and cropped at their center" if model.cropped else "squashed"
    normalized = f"normalized by mean {p['mean']} and standard deviation {p['std']} of values in [0, 1]"
    return f"are {how} to {model.size} x {model.size} px ({p['interpolation']}), and {normalized}"


def _licence(model: TrainedModel) -> str | None:
    """The licence of the pre-trained weights as timm gives it; None for a file and for weights of no known licence."""
    backbone = model.run.config.backbone
    if backbone.timm == "vit_nano":
        return "apache-2.0"  # this project's own
    if backbone.checkpoint:
        return None
    config = import_timm().get_pretrained_cfg(backbone.timm)
    return getattr(config, "license", None)


def _use_timm(model: TrainedModel) -> str:
    name, arguments = model.architecture
    given = "".join(f", {key}={value!r}" for key, value in arguments.items())
    return f"""```python
import timm, torch
from PIL import Image

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # from the hub: "hf-hub:OWNER/NAME"
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
with torch.inference_mode():
    logits = model(transform(Image.open("photo.jpg").convert("RGB"))[None])
print(model.pretrained_cfg["label_names"][logits.argmax()])
```

The file of weights alone:

```python
model = timm.create_model(
    "{name}", num_classes={len(model.class_names)}{given},
    checkpoint_path="FOLDER/model.safetensors",
)
```

Without Python code: `aoft-bench predict photo.jpg model=FOLDER`."""


def _use_onnx(model: TrainedModel) -> str:
    if model.cropped:
        # as `resize_short_side` and `Predictor.prepare` round
        side = f"side * {model.cropped} // min(image.size) for side in image.size"
        resize = f"""image = image.resize([{side}], {_pillow(model)})
left, top = (round((side - {model.size}) / 2) for side in image.size)
image = image.crop((left, top, left + {model.size}, top + {model.size}))"""
    else:
        resize = f"image = image.resize(({model.size}, {model.size}), {_pillow(model)})"
    return f"""```python
import json, numpy, onnxruntime
from PIL import Image

about = json.load(open("FOLDER/preprocessing.json"))
image = Image.open("photo.jpg").convert("RGB")
{resize}
x = (numpy.asarray(image, numpy.float32) / 255 - about["mean"]) / about["std"]
x = x.transpose(2, 0, 1)[None].astype(numpy.float32)
(logits,) = onnxruntime.InferenceSession("FOLDER/model.onnx").run(None, {{"images": x}})
print(about["label_names"][logits.argmax()])
```

Without Python code: `aoft-bench predict photo.jpg model=FOLDER`."""


def _pillow(model: TrainedModel) -> str:
    return f"Image.Resampling.{model.preprocessing['interpolation'].removesuffix('_tf').upper()}"


def _use_peft(model: TrainedModel) -> str:
    backbone, source = model.run.config.backbone, base_name(model.run.record)
    name, arguments = model.architecture
    given = "".join(f", {key}={value!r}" for key, value in arguments.items())
    classes = len(model.class_names)
    # timm drops the file's own head where its number of classes is another one
    if backbone.checkpoint or backbone.timm == "vit_nano":
        overlay = {"file": source, "num_classes": -1, **({"custom_load": True} if source.endswith(".npz") else {})}
        where = f"pretrained_cfg_overlay={overlay!r}"
        note = f"\n\n`{one_line(source)}` stands for the path of the weight file that the adapter was trained on."
    else:
        name, note = backbone.timm, ""
        where = "pretrained_cfg_overlay={'num_classes': -1}"
    return f"""```python
import timm
from peft import PeftModel

network = timm.create_model(
    "{name}", pretrained=True, num_classes={classes}{given},
    {where},
)
model = PeftModel.from_pretrained(network, "FOLDER").eval()
```

Images are prepared as under "Data"; `preprocessing.json` says it for programs, and names the classes.{note}"""


_USE = {"timm": _use_timm, "onnx": _use_onnx, "peft": _use_peft}
