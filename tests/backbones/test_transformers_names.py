"""Folders that Hugging Face transformers saved: their names, their forward pass, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import alive, timm
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.testing import assert_close

from aoft_bench.backbones.networks import NANO, build
from aoft_bench.backbones.read_weights import load_weights
from aoft_bench.backbones.weights import file_sha256, weights_name
from aoft_bench.config.schema import BackboneOptions
from aoft_bench.utils.errors import UserError

CONFIG = {"model_type": "vit", "num_attention_heads": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-12}


def nano(checkpoint: Path) -> BackboneOptions:
    return BackboneOptions(name="vit_nano", timm="vit_nano", checkpoint=str(checkpoint), img_size=32)


def vit(**options: Any) -> nn.Module:
    return timm.models.vision_transformer.VisionTransformer(num_classes=0, **options)


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    """A random network of vit_nano's shape."""
    torch.manual_seed(0)
    return alive(vit(**NANO))


def theirs(model: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a plain ViT as transformers saves them."""
    out = {}
    for name, tensor in model.state_dict().items():
        kind = name.rpartition(".")[2]
        if ".qkv." in name:
            number = name.split(".")[1]
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                out[f"encoder.layer.{number}.attention.attention.{part}.{kind}"] = rows.clone()
            continue
        for ours, other in (
            ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
            ("pos_embed", "embeddings.position_embeddings"),
            ("cls_token", "embeddings.cls_token"),
            ("blocks.", "encoder.layer."),
            (".norm1", ".layernorm_before"),
            (".norm2", ".layernorm_after"),
            ("attn.proj", "attention.output.dense"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
        ):
            name = name.replace(ours, other)
        out[re.sub("^norm", "layernorm", name)] = tensor
    return {prefix + name: tensor for name, tensor in out.items()}


def save(folder: Path, state: dict[str, Tensor], **config: Any) -> Path:
    """A folder with these tensors and this config.json."""
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    return folder


@pytest.mark.parametrize("prefix", ["", "vit."])
def test_a_folder_of_transformers_gives_the_same_network(prefix, teacher, tmp_path):
    head = {"classifier.weight": torch.ones(7, 128), f"{prefix}pooler.dense.weight": torch.ones(128, 128)}
    folder = save(tmp_path / "my-vit", theirs(teacher, prefix) | head)
    backbone = build(nano(folder), 7)
    found = backbone.model.state_dict()
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(found[name], tensor), name
    assert not any(p.any() for p in backbone.model.get_classifier().parameters())
    assert backbone.sha256 == file_sha256(folder / "model.safetensors")
    assert weights_name(nano(folder)) == weights_name(nano(folder / "../my-vit/")) == "my-vit"
    load_weights(vit(**NANO), folder / "model.safetensors", backbone.sha256)


def test_position_embeddings_of_a_folder_are_resampled(teacher, tmp_path):
    folder = save(tmp_path / "large", theirs(teacher))
    options = BackboneOptions(name="vit_nano", timm="vit_nano", checkpoint=str(folder), img_size=16)
    model: Any = build(options, 2).model
    assert model.pos_embed.shape == (1, 17, 128)
    assert torch.equal(model.pos_embed[:, 0], teacher.pos_embed[:, 0])


def test_a_folder_with_timms_names_is_read_as_it_is(teacher, tmp_path):
    folder = save(tmp_path / "of-timm", teacher.state_dict(), architecture="vit_nano")
    assert torch.equal(build(nano(folder), 2).model.blocks[5].attn.qkv.weight, teacher.blocks[5].attn.qkv.weight)


def test_folders_that_cannot_be_read_are_refused_in_one_line(teacher, tmp_path):
    state = theirs(teacher)
    without = {name: tensor for name, tensor in state.items() if ".5.attention.attention.key" not in name}
    wider = theirs(vit(**NANO | {"embed_dim": 64}))
    cases: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {
        r"config\.json: model_type is 'beit', and only vit, dinov2, dinov2_with_registers are": (
            state,
            {"model_type": "beit"},
        ),
        "model_type is None, and": (state, {"model_type": None}),
        "num_attention_heads is 8, not 4; choose the backbone": (state, {"num_attention_heads": 8}),
        "hidden_act is 'quick_gelu', not 'gelu'": (state, {"hidden_act": "quick_gelu"}),
        r"hidden_act is \['gelu'\], not 'gelu'": (state, {"hidden_act": ["gelu"]}),
        "layer_norm_eps is 0.1, not 1e-12 or 1e-06": (state, {"layer_norm_eps": 0.1}),
        "another network: 2 tensors missing, 4 unknown": (without, {}),
        r"another network: 0 tensors missing, 0 unknown, \d+ of another shape": (wider, {}),
        "its tensors do not fit": (state | {"encoder.layer.0.attention.attention.key.weight": torch.zeros(9)}, {}),
    }
    for number, (expected, (tensors, config)) in enumerate(cases.items()):
        folder = save(tmp_path / f"folder{number}", tensors, **config)
        with pytest.raises(UserError, match=expected) as failure:
            build(nano(folder), 2)
        assert "\n" not in str(failure.value) and str(folder) in str(failure.value)


def test_folders_without_a_part_are_refused_in_one_line(teacher, tmp_path):
    folder = tmp_path / "folder"
    for make, expected in (
        (lambda: folder.mkdir(), "no model.safetensors: the weights are not there; give a folder with config.json and"),
        (lambda: (folder / "pytorch_model.bin").touch(), "as pytorch_model.bin only; save it again"),
        (lambda: (folder / "model.safetensors.index.json").touch(), r"in several files; .* max_shard_size"),
        (lambda: save_file(theirs(teacher), folder / "model.safetensors"), "but no config.json is beside them"),
        (lambda: (folder / "config.json").write_text("{'a'}"), "config.json: it is no JSON"),
        (lambda: (folder / "config.json").write_text("[]"), "config.json: it holds no options of a model"),
        (lambda: (folder / "config.json").write_text("{}" + " " * 2**20), "config.json: it has 1,048,578 bytes, more"),
        (lambda: (folder / "model.safetensors").write_bytes(b"x" * 99), "cannot read the weights in .*fetch the file"),
    ):
        make()
        with pytest.raises(UserError, match=expected) as failure:
            build(nano(folder), 2)
        assert "\n" not in str(failure.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_the_forward_pass_is_that_of_transformers(tmp_path):
    """In float64, with random weights, for every layout; a class token, registers and all patches are compared."""
    transformers = pytest.importorskip("transformers", reason="it comes with the extra `peft`")
    transformers.utils.logging.disable_progress_bar()
    size = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
    ours = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
    swiglu = {"mlp_ratio": 2 * 128 / 48, "mlp_layer": timm.layers.SwiGLUPacked, "act_layer": nn.SiLU}
    plain = {"intermediate_size": 192, "layer_norm_eps": 1e-6}
    for kind, options, network in (
        ("ViTModel", plain, {}),
        ("ViTForImageClassification", plain, {}),
        ("Dinov2Model", {}, {"init_values": 1.0}),
        ("Dinov2ForImageClassification", {"use_swiglu_ffn": True}, {"init_values": 1.0, **swiglu}),
        ("Dinov2WithRegistersModel", {}, {"init_values": 1.0, "reg_tokens": 4, "no_embed_class": True}),
    ):
        torch.manual_seed(0)
        family = getattr(transformers, kind)
        reference = alive(family(family.config_class(**size, **options)).double()).eval()
        reference.save_pretrained(tmp_path / kind)
        model = vit(**ours, **network).double().eval()
        load_weights(model, tmp_path / kind / "model.safetensors", "")
        images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
        with torch.no_grad():
            expected = reference.base_model(images).last_hidden_state
            found = model.forward_features(images)
        assert expected.std() > 0.1
        assert_close(found, expected, atol=1e-10, rtol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_transformers_saves_the_names_of_the_other_tests(teacher, tmp_path):
    transformers = pytest.importorskip("transformers", reason="it comes with the extra `peft`")
    config = transformers.ViTConfig(
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=512,
        image_size=32,
        patch_size=4,
    )
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert {name: t.shape for name, t in saved.items()} == {name: t.shape for name, t in theirs(teacher).items()}
