"""Building networks and reading weight files: every layout that is accepted, and what is refused."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from networks import alive, timm
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from aoft_bench.backbones import read_weights
from aoft_bench.backbones.layout import image_size
from aoft_bench.backbones.networks import NANO, build, load_backbone
from aoft_bench.backbones.pos_embed import zoomed
from aoft_bench.backbones.weights import AT_TIMM, at_the_hub, file_sha256, weight_file, weights_name
from aoft_bench.config.choices import backbone_options
from aoft_bench.config.folders import conf_dir
from aoft_bench.config.schema import BackboneOptions
from aoft_bench.utils.errors import UserError

HEAVY = {"torch", "timm", "numpy", "wandb", "hydra"}
YAMLS = sorted({path.stem for path in (conf_dir() / "backbone").glob("*.yaml")} - {"timm"})
PARAMETERS = {  # millions, without head, at the image size of the YAML
    "vit_b16_in21k": 85.80,
    "vit_b16_augreg_in21k": 85.80,
    "vit_l16_in21k": 303.30,
    "vit_h14_in21k": 630.76,
    "vit_ti16_augreg_in21k": 5.52,
    "dinov2_b14": 85.72,
    "swin_b_in22k": 86.74,
}


def nano(checkpoint: Path, img_size: int = 32) -> BackboneOptions:
    return BackboneOptions(name="vit_nano", timm="vit_nano", checkpoint=str(checkpoint), img_size=img_size)


def options(name: str, checkpoint: str | None = None, img_size: int = 224) -> BackboneOptions:
    return BackboneOptions(name="own", timm=name, checkpoint=checkpoint, img_size=img_size)


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    """A random network of vit_nano's shape, head included."""
    torch.manual_seed(0)
    return alive(timm.models.vision_transformer.VisionTransformer(**NANO, num_classes=7))


def body(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head.")}


def check_equal(model: nn.Module, teacher: nn.Module) -> None:
    expected = body(teacher)
    assert body(model).keys() == expected.keys()
    for name, tensor in body(model).items():
        assert torch.equal(tensor, expected[name]), name
    assert not any(p.any() for p in model.get_classifier().parameters())


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n if n in PARAMETERS else pytest.param(n, marks=pytest.mark.slow) for n in YAMLS])
def test_every_yaml_builds(name):
    options = backbone_options(name)
    assert options.name == name
    if name.endswith("_file"):
        with pytest.raises(UserError, match=r"or a file by backbone\.checkpoint"):
            build(options, 11, weights=False)
        options = backbone_options(name, checkpoint="own.pth")
    with torch.device("meta"):
        backbone = build(options, 11, drop_path=0.1, weights=False)
    assert backbone.model.num_classes == 11 and backbone.sha256 == ""
    head = sum(p.numel() for p in backbone.model.get_classifier().parameters())
    count = sum(p.numel() for p in backbone.model.parameters()) - head
    assert round(count / 1e6, 2) == PARAMETERS.get(name, round(count / 1e6, 2))
    assert len(backbone.mean) == len(backbone.std) == 3
    assert image_size(backbone.model) == (options.img_size, options.img_size)


@pytest.mark.parametrize("name", YAMLS)
def test_every_yaml_names_weights_and_their_size(name):
    """DINOv2 is used at 224 px, as is usual; the others at what timm says of their weights."""
    chosen = yaml.safe_load((conf_dir() / "backbone" / f"{name}.yaml").read_text(encoding="utf-8"))
    if "." in chosen["timm"]:
        own = timm.get_pretrained_cfg(chosen["timm"])
        assert chosen["timm"].partition(".")[2] == own.tag and own.interpolation == "bicubic"
        assert own.input_size[1] == (518 if name.startswith("dinov2") else chosen["img_size"])
        assert (chosen.get("pool") == "token") == ("dinov3" in name)


def test_normalisation_is_that_of_pre_training():
    with torch.device("meta"):
        google, dino = (build(backbone_options(n), 2, weights=False) for n in ("vit_ti16_augreg_in21k", "dinov2_b14"))
    assert google.mean == google.std == (0.5, 0.5, 0.5)
    assert dino.mean == (0.485, 0.456, 0.406) and dino.std == (0.229, 0.224, 0.225)


def test_a_name_without_a_tag_is_refused_with_the_tags():
    with pytest.raises(UserError, match=r"without a tag .*vit_base_patch16_224\.orig_in21k.* backbone\.checkpoint"):
        build(options("vit_base_patch16_224"), 2, weights=False)


def test_unknown_names_come_with_the_closest():
    with pytest.raises(UserError, match="did you mean 'vit_base_patch16_224'"):
        build(options("vit_base_patch16_22"), 2)
    with pytest.raises(UserError, match="did you mean 'orig_in21k'"):
        build(options("vit_base_patch16_224.orig_in21"), 2)
    with pytest.raises(UserError, match="did you mean 'vit_b16_in21k'"):
        load_backbone("vit_b16_in21", 2)


def test_a_bad_image_size_is_refused():
    with pytest.raises(UserError, match=r"backbone\.img_size: got 30, must be a multiple of 4"):
        build(nano(Path("x"), 30), 2, weights=False)
    with pytest.raises(UserError, match=r"backbone\.img_size: got 100, must be a multiple of 16"), torch.device("meta"):
        build(options("vit_tiny_patch16_224.augreg_in21k", img_size=100), 2, weights=False)


def test_a_network_of_convolutions_takes_any_size_that_it_runs_at():
    with torch.device("meta"):
        model = build(options("convnextv2_atto.fcmae", img_size=64), 2, weights=False).model
        assert image_size(model) == (64, 64)
        with pytest.raises(UserError, match=r"backbone\.img_size: convnextv2_atto\.fcmae cannot run at 16 px"):
            build(options("convnextv2_atto.fcmae", img_size=16), 2, weights=False)
        with pytest.raises(UserError, match=r"backbone\.img_size: hiera_tiny_224\.mae cannot (take|run at) 50 px"):
            build(options("hiera_tiny_224.mae", img_size=50), 2, weights=False)


def test_the_head_reads_what_pool_says():
    name = "vit_small_patch16_dinov3.lvd1689m"
    with torch.device("meta"):
        token, usual, other = (
            build(BackboneOptions("own", name, None, 64, pool=pool), 2, weights=False).model
            for pool in ("token", None, "avg")
        )
        assert (token.global_pool, usual.global_pool, other.global_pool) == ("token", "avg", "avg")
        assert token.state_dict().keys() == usual.state_dict().keys()
        with pytest.raises(UserError, match=r"backbone\.pool: swin_tiny_patch4_window7_224\.ms_in22k has no 'map'"):
            build(
                BackboneOptions("own", "swin_tiny_patch4_window7_224.ms_in22k", None, 224, pool="map"), 2, weights=False
            )


def test_random_weights_are_drawn_and_marked():
    chosen = BackboneOptions("own", "vit_nano", None, 32, weights="none")
    torch.manual_seed(0)
    one = build(chosen, 3)
    torch.manual_seed(0)
    two = build(chosen, 3)
    assert all(torch.equal(a, b) for a, b in zip(body(one.model).values(), body(two.model).values(), strict=True))
    assert one.sha256 == file_sha256(weight_file(chosen)) == "0" * 64 and weights_name(chosen) == "random"
    with pytest.raises(UserError, match=r"backbone\.weights=none leaves no use for backbone\.checkpoint"):
        build(BackboneOptions("own", "vit_nano", "mine.pth", 32, weights="none"), 3)


def test_a_norm_that_belongs_to_timms_head_is_loaded(tmp_path):
    """ConvNeXt and Hiera have their last norm in a module called head."""
    path = tmp_path / "w.safetensors"
    trained = timm.create_model("convnextv2_atto", num_classes=4)
    nn.init.constant_(trained.head.norm.weight, 3.0)
    save_file(trained.state_dict(), path)
    model = build(options("convnextv2_atto.fcmae", str(path)), 3).model
    assert (model.head.norm.weight == 3).all() and not model.head.fc.weight.any()


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["safetensors", "flat", "state_dict", "model", "module.", "no head"])
def test_every_layout_of_a_file_loads_all_but_the_head(layout, teacher, tmp_path):
    state = teacher.state_dict()
    path = tmp_path / ("w.safetensors" if layout == "safetensors" else "w.pth")
    if layout == "safetensors":
        save_file(state, path)
    elif layout in ("state_dict", "model"):
        torch.save({layout: state, "epoch": 3}, path)
    elif layout == "module.":
        torch.save({"module." + name: tensor for name, tensor in state.items()}, path)
    else:
        torch.save(body(teacher) if layout == "no head" else state, path)
    backbone = build(nano(path), 7)
    check_equal(backbone.model, teacher)
    assert backbone.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights_name(nano(path)) == path.name
    assert all(p.dtype == torch.float32 for p in backbone.model.parameters())


def google_layout(model: nn.Module) -> dict[str, np.ndarray]:
    """The arrays of a ViT in Google's original .npz files: (in, out) kernels, heads split, HWIO patches."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    heads, width = NANO["num_heads"], NANO["embed_dim"]
    out = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    for i in range(NANO["depth"]):
        here, block = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        attention = f"{here}/MultiHeadDotProductAttention_1"
        for norm, theirs in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            out[f"{here}/{theirs}/scale"] = state[f"{block}.{norm}.weight"]
            out[f"{here}/{theirs}/bias"] = state[f"{block}.{norm}.bias"]
        for j, part in enumerate(("query", "key", "value")):
            rows = slice(j * width, (j + 1) * width)
            out[f"{attention}/{part}/kernel"] = state[f"{block}.attn.qkv.weight"][rows].T.reshape(width, heads, -1)
            out[f"{attention}/{part}/bias"] = state[f"{block}.attn.qkv.bias"][rows].reshape(heads, -1)
        out[f"{attention}/out/kernel"] = state[f"{block}.attn.proj.weight"].T.reshape(heads, -1, width)
        out[f"{attention}/out/bias"] = state[f"{block}.attn.proj.bias"]
        for j in (1, 2):
            out[f"{here}/MlpBlock_3/Dense_{j - 1}/kernel"] = state[f"{block}.mlp.fc{j}.weight"].T
            out[f"{here}/MlpBlock_3/Dense_{j - 1}/bias"] = state[f"{block}.mlp.fc{j}.bias"]
    return out


def test_googles_npz_gives_the_same_network(teacher, tmp_path):
    np.savez(tmp_path / "ViT-N_4.npz", **google_layout(teacher))
    backbone = build(nano(tmp_path / "ViT-N_4.npz"), 7)
    check_equal(backbone.model, teacher)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert_close(backbone.model.eval().forward_features(images), teacher.eval().forward_features(images))


def test_an_npz_of_another_network_is_refused(teacher, tmp_path):
    arrays = google_layout(teacher)
    np.savez(tmp_path / "short.npz", **{k: v for k, v in arrays.items() if "encoderblock_5" not in k})
    patches = {"embedding/kernel": np.zeros((8, 8, 3, 128), np.float32)}
    np.savez(tmp_path / "patches.npz", **{**arrays, **patches})
    deeper = {name.replace("block_5", "block_6"): array for name, array in arrays.items()}
    np.savez(tmp_path / "deeper.npz", **{**arrays, **deeper})
    stacked = {"params/Transformer/encoderblock/LayerNorm_0/scale": np.zeros((7, 128), np.float32)}
    np.savez(tmp_path / "stacked.npz", **{**arrays, **stacked})
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 broken")
    for name in ("short", "patches", "deeper", "stacked", "foreign", "broken"):
        with pytest.raises(UserError, match=f"(?s){name}.npz.*not a Google ViT file") as failure:
            build(nano(tmp_path / f"{name}.npz"), 7)
        assert "\n" not in str(failure.value)


@pytest.mark.parametrize("img_size, grid", [(16, 4), (48, 12)])
@pytest.mark.parametrize("suffix", ["pth", "npz"])
def test_position_embeddings_are_resampled(img_size, grid, suffix, teacher, tmp_path):
    state = body(teacher)
    ramp = torch.linspace(-1, 1, 8).view(1, 1, 8, 1).expand(1, 8, 8, 128).reshape(1, 64, 128)
    state["pos_embed"] = torch.cat([torch.full((1, 1, 128), 9.0), ramp], dim=1)
    path = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save(state, path)
    else:
        arrays = google_layout(teacher)
        arrays["Transformer/posembed_input/pos_embedding"] = state["pos_embed"].numpy()
        np.savez(path, **arrays)
    embed = build(nano(path, img_size), 7).model.pos_embed.detach()
    assert embed.shape == (1, 1 + grid**2, 128)
    assert torch.equal(embed[:, 0], torch.full((1, 128), 9.0))  # the class token's is not a place in the image
    rows = embed[0, 1:].view(grid, grid, 128)
    assert_close(rows, rows[:1].expand_as(rows), atol=1e-5, rtol=0)  # a ramp along x stays one
    assert rows[0, :, 0].diff().min() > 0 and rows[0, :, 0].abs().max() < 1.2
    assert rows[0, 0, 0].item() == pytest.approx(-rows[0, -1, 0].item(), abs=1e-5)


def test_position_embeddings_without_prefix_tokens_are_resampled(tmp_path):
    name, path = "vit_wee_patch16_reg1_gap_256.sbb_in1k", tmp_path / "w.safetensors"
    trained = timm.create_model(name, img_size=256, num_classes=0)
    nn.init.constant_(trained.pos_embed, 3.0)
    save_file(trained.state_dict(), path)
    model = build(options(name, str(path), 128), 3).model
    assert_close(model.pos_embed.detach(), torch.full((1, 64, 256), 3.0))
    assert torch.equal(model.reg_token, trained.reg_token)


def test_tables_that_swin_computes_itself_may_be_in_its_file(tmp_path):
    name, path = "swin_tiny_patch4_window7_224.ms_in22k", tmp_path / "w.pth"
    with torch.device("meta"):
        trained = timm.create_model(name, num_classes=3)
    state = {k: torch.full(v.shape, 0.5).half() for k, v in trained.state_dict().items()}
    tables = {k: torch.zeros(v.shape) for k, v in trained.named_buffers() if k not in state}
    assert any("attn_mask" in k for k in tables) and any("relative_position_index" in k for k in tables)
    torch.save({**state, **tables}, path)
    model = build(options(name, str(path)), 2).model
    assert all((p == 0.5).all() for n, p in model.named_parameters() if not n.startswith("head."))
    assert model.layers[0].blocks[0].attn.relative_position_index.max() > 0
    torch.save({**state, **tables, "layers.0.blocks.0.attn.foreign": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"1 unknown, .* 'layers\.0\.blocks\.0\.attn\.foreign'"):
        build(options(name, str(path)), 2)


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"backbone\.checkpoint: no file /nowhere/w\.npz; give a \.npz, \.safetensors"):
        build(nano(Path("/nowhere/w.npz")), 2)


def test_weights_of_another_network_are_refused(teacher, tmp_path):
    state = body(teacher)
    wrong = {
        "1 tensors missing, 0 unknown, 0 of another shape, the first is 'norm.weight'": {
            k: v for k, v in state.items() if k != "norm.weight"
        },
        "0 tensors missing, 1 unknown, 0 of another shape, the first is 'blocks.6.norm1.weight'": {
            **state,
            "blocks.6.norm1.weight": torch.zeros(128),
        },
        "0 tensors missing, 0 unknown, 1 of another shape, the first is 'norm.weight'": {
            **state,
            "norm.weight": torch.zeros(64),
        },
        "0 tensors missing, 0 unknown, 1 of another shape, the first is 'pos_embed'": {
            **state,
            "pos_embed": torch.zeros(1, 65, 64),
        },
    }
    for text, tensors in wrong.items():
        save_file(tensors, tmp_path / "w.safetensors")
        with pytest.raises(UserError, match=f"weights of another network: {text}"):
            build(nano(tmp_path / "w.safetensors"), 2)


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "npz"])
@pytest.mark.parametrize("kept", [0, 100, -1000])
def test_a_truncated_file_is_named_in_one_line(suffix, kept, teacher, tmp_path):
    path = tmp_path / f"w.{suffix}"
    if suffix == "safetensors":
        save_file(teacher.state_dict(), path)
    elif suffix == "pth":
        torch.save(teacher.state_dict(), path)
    else:
        np.savez(path, **google_layout(teacher))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        UserError, match=rf"cannot read the weights in .*w\.{suffix}: .*fetch the file again"
    ) as failure:
        build(nano(path), 2)
    assert "\n" not in str(failure.value)


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path):
    torch.save({"state_dict": Malicious(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="cannot read the weights"):
        build(nano(tmp_path / "w.pth"), 2)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3}, torch.zeros(2), {0: torch.zeros(2)}])
def test_a_file_without_named_tensors_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: no dictionary of tensors"):
        build(nano(tmp_path / "w.pth"), 2)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # newer versions of torch warn of it
def test_only_finite_floating_point_numbers_are_loaded(teacher, tmp_path):
    state, path = body(teacher), tmp_path / "w.pth"
    wrong = {
        "holds int8": lambda tensor: tensor.char(),
        "holds bool": lambda tensor: tensor.bool(),
        "holds complex64": lambda tensor: tensor.cfloat(),
        "holds qint8": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        "is not dense but sparse_coo": lambda tensor: tensor.to_sparse(),
        "is on the meta device": lambda tensor: tensor.to("meta"),
        "hold NaN or infinite values": lambda tensor: tensor.double() * 1e300,
    }
    for text, change in wrong.items():
        torch.save(state | {"pos_embed": change(state["pos_embed"])}, path)
        with pytest.raises(UserError, match=f"w.pth.* {text}.*fetch the file again") as refused:
            build(nano(path, 48), 2)
        assert "\n" not in str(refused.value)
    torch.save({name: tensor.bfloat16() for name, tensor in state.items()}, path)
    assert build(nano(path), 2).model.pos_embed.dtype == torch.float32
    arrays, file = google_layout(teacher), tmp_path / "w.npz"
    for text, value in (("'cls' holds int8", np.zeros((1, 1, 128), np.int8)), ("NaN", np.full((1, 1, 128), np.nan))):
        np.savez(file, **arrays | {"cls": value})
        with pytest.raises(UserError, match=f"w.npz.*{text}"):
            build(nano(file), 2)


def test_sha256_follows_the_content_and_is_that_of_what_is_loaded(teacher, tmp_path, monkeypatch):
    path = tmp_path / "w.bin"
    for content in (b"one", b"two"):
        path.write_bytes(content)
        os.utime(path, (0, 0))
        assert file_sha256(path) == hashlib.sha256(content).hexdigest()
    path = tmp_path / "w.safetensors"
    save_file(teacher.state_dict(), path)
    mine, read = file_sha256(path), read_weights._read_state

    def replace_and_read(*arguments):
        save_file({"other": torch.zeros(1)}, path)
        return read(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(read_weights, "_read_state", replace_and_read)
        backbone = build(nano(path), 7, sha256=mine)
    assert backbone.sha256 == mine != file_sha256(path)
    check_equal(backbone.model, teacher)
    with pytest.raises(UserError, match=r"w\.safetensors is not the weight file that is meant"):
        build(nano(path), 7, sha256=mine)
    with pytest.raises(UserError, match="cannot read the weights in .*: Is a directory; give others"):
        file_sha256(tmp_path)


def test_an_unreachable_hub_fails_at_once_in_one_line(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there

    def download(*_: object, **__: object) -> None:
        raise AssertionError("the download, which retries for 23 s, was started")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(UserError, match=r"cannot be reached .*give backbone\.checkpoint=FILE") as failure:
        weight_file(options("vit_tiny_patch16_224.augreg_in21k"))
    assert "\n" not in str(failure.value)


def test_a_file_in_the_hubs_cache_is_used_without_the_hub(tmp_path, monkeypatch):
    import huggingface_hub

    folder = tmp_path / "models--timm--vit_tiny_patch16_224.augreg_in21k"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc" / "model.safetensors").write_bytes(b"x")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    found = weight_file(options("vit_tiny_patch16_224.augreg_in21k"))
    assert found == folder / "snapshots" / "abc" / "model.safetensors"


# -- imports ---------------------------------------------------------------------------------------------------------


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=True
    )
    return done.stdout.strip()


@pytest.mark.slow
def test_timm_is_imported_without_wandb(tmp_path):
    (tmp_path / "wandb.py").write_text("print('wandb was imported')")
    code = "from aoft_bench.utils.fast_imports import import_timm; import_timm(); print('then'); import wandb"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    assert python(code, PYTHONPATH=path) == "then\nwandb was imported"


def test_the_package_itself_imports_nothing_heavy():
    assert python(f"import sys, aoft_bench; print(*({HEAVY} & set(sys.modules)))") == ""


def test_weight_files_are_found_without_torch():
    code = f"""
import sys
from aoft_bench.backbones.weights import weight_file, weights_name
from aoft_bench.config.schema import BackboneOptions
options = BackboneOptions(name="vit_nano", timm="vit_nano", checkpoint=None, img_size=32)
assert weights_name(options) == "embedded" and weight_file(options).name == "vit_nano.safetensors"
print(*({HEAVY - {"numpy", "hydra"}} & set(sys.modules)))
"""
    assert python(code) == ""


def test_where_timm_has_the_weights_of_shipped_backbones_at_the_hub() -> None:
    """They are not asked for, since timm imports torch."""
    shipped = {backbone_options(name).timm for name in YAMLS if name != "clip_b16_openai"}  # of another repository
    assert set(AT_TIMM) == {name for name in shipped if "." in name}
    for name in AT_TIMM:
        config = timm.get_pretrained_cfg(name)
        assert at_the_hub(name) == (config.hf_hub_id, config.hf_hub_filename or "model.safetensors")


def test_zoom_is_scipys_of_order_one() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    embed = torch.randn(1, 14 * 14, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for side in (1, 4, 7, 14, 24):
        expected = ndimage.zoom(embed.view(14, 14, 3).numpy(), (side / 14, side / 14, 1), order=1)
        found = zoomed(embed, (side, side)).view(side, side, 3)
        assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_position_embeddings_of_another_size_can_be_zoomed(tmp_path: Path, suffix: str, teacher: nn.Module) -> None:
    path, embed = tmp_path / f"mine{suffix}", teacher.pos_embed
    np.savez(path, **google_layout(teacher)) if suffix == ".npz" else save_file(body(teacher), path)
    made = nano(path, img_size=48)
    zoomed_model = build(dataclasses.replace(made, pos_embed_resize="zoom"), 3).model
    side = zoomed_model.patch_embed.grid_size[0]
    assert_close(zoomed_model.pos_embed[:, 1:], zoomed(embed[:, 1:], (side, side)))
    assert torch.equal(zoomed_model.pos_embed[:, :1], embed[:, :1])
    bicubic = build(made, 3).model
    assert (bicubic.pos_embed - zoomed_model.pos_embed).abs().max() > 1e-3
    rest = {name: tensor for name, tensor in body(bicubic).items() if name != "pos_embed"}
    assert all(torch.equal(tensor, body(zoomed_model)[name]) for name, tensor in rest.items())


def test_a_network_without_position_embeddings_has_none_to_zoom() -> None:
    made = dataclasses.replace(options("swin_tiny_patch4_window7_224.ms_in22k"), pos_embed_resize="zoom")
    with (
        torch.device("meta"),
        pytest.raises(UserError, match=r"pos_embed_resize: got 'zoom', but swin_tiny\S+ has no position embeddings"),
    ):
        build(made, 3, weights=False)
