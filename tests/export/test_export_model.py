"""`aoft-bench export-model` and `predict`: what other programs load is what was trained."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result, call, words
from PIL import Image
from push_server import PushServer, push_server
from torch import Tensor

from aoft_bench.backbones.networks import load_backbone
from aoft_bench.cli.export_model import FORMATS
from aoft_bench.data.transforms import normalize
from aoft_bench.experiments.trained_run import open_run
from aoft_bench.export.card import _use_onnx
from aoft_bench.export.onnx_format import write_onnx
from aoft_bench.export.peft_format import low_rank_layers
from aoft_bench.export.predictor import Predictor, load_network
from aoft_bench.export.write import WRITERS
from aoft_bench.methods import attach
from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.fast_imports import import_timm

STEPS = {"recipe.epochs": "2", "recipe.batch_size": "8", "recipe.warmup_epochs": "0", "recipe.lr": "1e-2"}


def trained(folder: Path, options: dict[str, str]) -> Path:
    """The record of a cell that is run in `folder`."""
    result = call(*words(options | STEPS), cwd=folder)
    assert result.code == 0, result.err
    (record,) = (folder / "results").rglob("seed*.json")
    return record


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, nano_pack: dict[str, str]) -> Path:
    """The record of LoRA on q, v and fc1."""
    return trained(tmp_path_factory.mktemp("lora"), nano_pack | {"method": "lora", "method.targets": "[q,v,fc1]"})


@pytest.fixture(scope="module")
def exported(lora: Path) -> Path:
    """The same in timm's format."""
    result = call("export-model", str(lora), "out=made/here", cwd=lora.parent)
    assert result.code == 0, result.err
    assert "logits differ from those of the trained model by at most" in result.out
    assert [path.name for path in (lora.parent / "made").iterdir()] == ["here"]
    return lora.parent / "made/here"


def inputs() -> Tensor:
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.inference_mode()
def expected(record: Path) -> Tensor:
    """The logits of `inputs` by the trained model, nothing merged."""
    return open_run(record, read_record(record)).trained().model.eval()(inputs())


@torch.inference_mode()
def difference(model: Any, record: Path) -> float:
    return float((model.eval()(inputs()) - expected(record)).abs().max())


def test_every_format_that_the_command_names_has_a_writer() -> None:
    assert FORMATS.keys() == WRITERS.keys()


def test_timm_loads_the_folder_and_the_file_alone(exported: Path, lora: Path) -> None:
    timm = import_timm()
    model = timm.create_model(f"local-dir:{exported}", pretrained=True)
    assert difference(model, lora) < 1e-5
    config = json.loads((exported / "config.json").read_text())
    assert model.pretrained_cfg["label_names"] == ["0", "1", "2"] and config["num_classes"] == 3
    alone = timm.create_model(
        config["architecture"],
        num_classes=3,
        checkpoint_path=str(exported / "model.safetensors"),
        **config["model_args"],
    )
    assert difference(alone, lora) < 1e-5
    data = timm.data.resolve_model_data_config(model)
    assert (data["crop_mode"], data["crop_pct"], data["interpolation"]) == ("squash", 1.0, "bicubic")
    assert (data["mean"], data["std"]) == ([0.5] * 3, [0.5] * 3)


def test_the_card_says_where_the_model_is_from(exported: Path, lora: Path) -> None:
    record = read_record(lora)
    text = (exported / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: timm\n") and "license: apache-2.0" in text
    for part in (record["hash"], f"`{record['command']}`", "| LoRA |", "not proven to be official", "1, 2."):
        assert part in text
    assert (exported / lora.name).read_bytes() == lora.read_bytes()


@pytest.mark.parametrize("shape", [(40, 60), (51, 77), (64, 47), (33, 59), (38, 83)])
def test_the_card_of_onnx_crops_as_in_training(shape: tuple[int, int]) -> None:
    model: Any = SimpleNamespace(cropped=37, size=32, preprocessing={"interpolation": "bicubic"})
    lines = _use_onnx(model).splitlines()
    (start,) = (number for number, line in enumerate(lines) if "image.resize(" in line)
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    scope: dict[str, Any] = {"Image": Image, "image": Image.fromarray(image)}
    exec("\n".join(lines[start : start + 3]), scope)
    predictor = Predictor(torch.nn.Identity(), 32, 37, "bicubic", (0.5,), (0.5,), ("0",))
    assert np.array_equal(np.asarray(scope["image"]), predictor.prepare(image))


def perturbed(method: str, **options: Any) -> Any:
    """The handle of a method on vit_nano in float64, whose trained tensors are not where they start."""
    torch.manual_seed(0)
    handle = attach(load_backbone("vit_nano", 3).double(), method, **options)
    with torch.no_grad():
        for _, parameter in handle.trained():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return handle


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"targets": ["v", "q", "fc1"]}),
        ("aoft", {}),
        ("aoft", {"learn_lambda": False}),
        ("bi_lora", {}),
        ("fact_tt", {}),
    ],
)
def test_the_updates_of_a_layer_are_one_lora(method: str, options: dict[str, Any]) -> None:
    handle = perturbed(method, **options)
    frozen = {path: handle.model.get_submodule(f"{path}.base").weight for path in low_rank_layers(handle)}
    found = low_rank_layers(handle)
    handle.merge()
    assert found
    for path, (a, b) in found.items():
        assert (frozen[path] + b @ a - handle.model.get_submodule(path).weight).abs().max() < 1e-10


@pytest.mark.parametrize("method", ["adapter", "bitfit", "diff_fit", "hta", "linear", "ssf", "vpt_deep"])
def test_what_is_not_low_rank_alone_is_no_lora(method: str) -> None:
    assert not low_rank_layers(perturbed(method))


# -- predict ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images of different sizes, and a file that is none."""
    folder = tmp_path / "images"
    (folder / "inside").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape in (("b.png", (40, 20, 3)), ("inside/a.jpg", (32, 32, 3)), ("=c.png", (9, 64))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def predict(exported: Path, *given: str, cwd: Path) -> Result:
    return call("predict", *given, f"model={exported}", cwd=cwd)


def test_predict_prints_what_timm_computes(exported: Path, images: Path, tmp_path: Path) -> None:
    result = predict(exported, "images", "out=found.csv", cwd=tmp_path)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["images/=c.png", "images/b.png", "images/inside/a.jpg"]
    timm = import_timm()
    model = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode(), Image.open(images / "inside/a.jpg") as image:  # of the model's size already
        probability, label = model(transform(image)[None]).softmax(dim=1)[0].max(dim=0)
    assert lines[2].startswith(f"images/inside/a.jpg: {label} {100 * probability:.1f} %, ")
    table = (tmp_path / "found.csv").read_text().splitlines()
    assert table[0].startswith("image,label 1,probability 1,label 2") and len(table) == 4
    one = predict(exported, "./images/=c.png", "top=1", cwd=tmp_path)
    assert one.out == f"{lines[0].split(',')[0]}\n"


def test_an_image_that_is_broken_is_named_and_the_others_are_predicted(
    exported: Path, images: Path, tmp_path: Path
) -> None:
    content = (images / "b.png").read_bytes()
    (images / "b.png").write_bytes(content[: len(content) // 2])
    result = predict(exported, "images", cwd=tmp_path)
    assert result.code == 2 and len(result.out.splitlines()) == 2
    first, last = result.err.splitlines()
    assert first.startswith("aoft_bench: cannot read the image images/b.png") and first.endswith("or leave it out")
    assert last == "aoft_bench: 1 of 3 images could not be read (named above)"
    alone = predict(exported, "images/b.png", "out=found.csv", cwd=tmp_path)
    assert (alone.code, alone.out, len(alone.err.splitlines())) == (2, "", 1)
    assert not (tmp_path / "found.csv").exists()


def broken_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def other_network(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["embed_dim"] = 64
    (folder / "config.json").write_text(json.dumps(config))


def no_network(folder: Path) -> None:
    (folder / "config.json").write_text('{"architecture": "vit_nothing", "pretrained_cfg": {}}')


def other_names(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"label_names": ["one"]}))


def half(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (broken_json, "config.json is damaged"),
        (no_network, "describes no model ("),
        (other_network, "does not fit its config.json"),
        (half, "model.safetensors is damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), "it has no model.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "it has no config.json"),
        (lambda folder: (folder / "config.json").rename(folder / "adapter_config.json"), "holds an adapter for peft"),
        (other_names, "describes no model (ValueError: 1 names for 3 classes)"),
        (shutil.rmtree, "it does not exist"),
    ],
)
def test_a_folder_without_a_model_ends_in_one_line(
    exported: Path, images: Path, tmp_path: Path, damage: Any, said: str
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(exported, copy)
    damage(copy)
    result = predict(copy, "images", cwd=tmp_path)
    assert result.code == 2 and not result.out
    (line,) = result.err.splitlines()
    assert said in line


# -- what cannot be exported -----------------------------------------------------------------------------------------


def refused(result: Result, *parts: str) -> None:
    assert result.code == 2 and not result.out
    (line,) = result.err.splitlines()
    for part in parts:
        assert part in line


def test_what_cannot_be_exported_leaves_nothing(lora: Path, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(lora.parent.rglob("*"))

    def export(*given: str) -> Result:
        return call("export-model", str(lora), *given, cwd=lora.parent)

    refused(export("out=made/here"), "made/here is not empty", "out=<folder>")
    refused(export(f"out={lora.name}"), "is there already, and is no folder")
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    refused(export("out=new", "push=me/model"), "push needs a token", "HF_TOKEN")
    refused(export("out=new", "push=model"), "push=model names no repository", "OWNER/NAME")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    refused(export("out=new/deep", "format=onnx"), "format=onnx needs onnx", "pip install")
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    refused(export("out=new/deep", "format=peft"), "format=peft needs the peft library", "pip install")
    assert sorted(lora.parent.rglob("*")) == before


# -- other libraries -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_onnxruntime_runs_a_method_that_cannot_be_merged(tmp_path: Path, nano_pack: dict[str, str]) -> None:
    """AOFT in an adapter, whose factors need an operator that ONNX lacks unless they are built before."""
    import onnxruntime

    record = trained(tmp_path, nano_pack | {"method": "aoft_adapter"})
    refused(call("export-model", str(record), "out=made", cwd=tmp_path), "aoft_adapter cannot be merged", "format=onnx")
    refused(call("export-model", str(record), "out=made", "format=peft", cwd=tmp_path), "not a low-rank", "format=onnx")
    result = call("export-model", str(record), "out=made", "format=onnx", cwd=tmp_path)
    assert result.code == 0, result.err
    session = onnxruntime.InferenceSession(str(tmp_path / "made/model.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": inputs().numpy()})
    assert np.abs(logits - expected(record).numpy()).max() < 1e-5
    predictor = load_network(tmp_path / "made")
    images = [np.full((32, 32, 3), value, np.uint8) for value in (0, 99)]
    model = open_run(record, read_record(record)).trained()
    x = normalize(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), model.mean, model.std)
    with torch.inference_mode():
        p = model.model.eval()(x).softmax(1)
    assert (predictor.probabilities(images) - p).abs().max() < 1e-5
    about = tmp_path / "made/preprocessing.json"
    about.write_text(about.read_text().replace("32\n", "64\n"))
    with pytest.raises(UserError, match="preprocessing.json describes no model .ValueError: images of 64 px and"):
        load_network(tmp_path / "made")
    (tmp_path / "made/model.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match="model.onnx is damaged .*export the model again"):
        load_network(tmp_path / "made")


class Signs(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.copysign(torch.ones_like(x), x)


@pytest.mark.slow
def test_an_operator_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    handle = SimpleNamespace(mergeable=False, model=Signs())
    run = SimpleNamespace(config=SimpleNamespace(method=SimpleNamespace(label="signs")))
    model: Any = SimpleNamespace(run=run, adapted=SimpleNamespace(handle=handle), images=inputs())
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(UserError, match="signs cannot be written as ONNX: it has no operator for torch's prims.signbit"),
    ):
        patch.setattr("aoft_bench.export.onnx_format.build_for_good", lambda model: None)
        write_onnx(model, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_peft_loads_the_adapter(lora: Path, tmp_path: Path, nano_weights: Path) -> None:
    from peft import PeftModel

    result = call("export-model", str(lora), f"out={tmp_path / 'made'}", "format=peft", cwd=tmp_path)
    assert result.code == 0, result.err
    overlay = {"file": str(nano_weights), "num_classes": -1}
    sizes = {"img_size": 32, "patch_size": 4, "embed_dim": 128, "depth": 6, "num_heads": 4}
    network = import_timm().create_model(
        "vit_tiny_patch16_224", pretrained=True, num_classes=3, pretrained_cfg_overlay=overlay, **sizes
    )
    assert difference(PeftModel.from_pretrained(network, str(tmp_path / "made")), lora) < 1e-5
    config = json.loads((tmp_path / "made/adapter_config.json").read_text())
    assert config["r"] == 16 or set(config["rank_pattern"].values()) == {16}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PushServer]:
    with push_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield server


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # in huggingface_hub's uploads
def test_a_pushed_model_is_loaded_from_the_hub(lora: Path, tmp_path: Path, hub: PushServer) -> None:
    result = call("export-model", str(lora), f"out={tmp_path / 'made'}", "push=me/model", cwd=tmp_path)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1].strip() == f"{hub.address}/me/model"
    assert hub.private == {"me/model": True} and hub.tokens == {"Bearer hf_test"}
    files = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    assert {name: content for (_, name), content in hub.files.items()} == files
    model = import_timm().create_model("hf-hub:me/model", pretrained=True, cache_dir=str(tmp_path / "cache"))
    assert difference(model, lora) < 1e-5


@pytest.mark.slow
def test_a_hub_that_refuses_leaves_the_folder_whole(lora: Path, tmp_path: Path, hub: PushServer) -> None:
    hub.status = 403
    result = call("export-model", str(lora), f"out={tmp_path / 'made'}", "push=me/model", cwd=tmp_path)
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert "answers 403, the token may not write there" in line and "hf upload me/model" in line
    assert (tmp_path / "made/model.safetensors").is_file()
