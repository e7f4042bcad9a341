"""The bridge to peft against peft alone, on a ViT whose q, k and v are layers of their own; in float64."""

import re
import subprocess
import sys
from typing import get_args

import contract
import pytest
import torch
import torch.nn.functional as F
from networks import TIGHT, batch, perturb, vit
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench.methods import build
from aoft_bench.methods.parts.peft_layer import PeftLinear
from aoft_bench.methods.parts.peft_tuners import TUNERS, TunerName
from aoft_bench.utils.errors import UserError

TARGETS = ["q", "v", "fc1"]  # inputs 32; outputs 32, 32, 64

# peft's own type and options for our rank=4, and more options for both; a seed, where constants are random
ASKED: dict[str, tuple[str, dict, dict]] = {
    "adamss": ("ADAMSS", dict(r=4), dict(num_subspaces=3)),
    "beft": ("BEFT", {}, {}),
    "boft": ("BOFT", dict(boft_block_size=4), {}),
    "bone": ("MISS", dict(r=4, init_weights="bat"), {}),
    "c3a": ("C3A", dict(block_size=8, init_weights=True), {}),
    "deft": ("DEFT", dict(r=4), dict(decomposition_method="qr")),
    "delora": ("DELORA", dict(r=4), dict(delora_lambda=3)),
    "dora": ("LORA", dict(r=4, use_dora=True), dict(lora_alpha=2)),
    "fourierft": ("FOURIERFT", dict(n_frequency=128, init_weights=True), dict(scaling=5.0, random_loc_seed=3)),
    "glora": ("GLORA", dict(r=4), {}),
    "gralora": ("GRALORA", dict(r=4), dict(alpha=4, hybrid_r=1)),
    "hira": ("HIRA", dict(r=4), {}),
    "hra": ("HRA", dict(r=4), dict(apply_GS=True)),
    "ia3": ("IA3", dict(feedforward_modules=[]), {}),
    "loha": ("LOHA", dict(r=4), {}),
    "lokr": ("LOKR", dict(r=4), dict(decompose_factor=4, decompose_both=True)),
    "lora": ("LORA", dict(r=4), {}),
    "miss": ("MISS", dict(r=4), dict(init_weights="mini", mini_r=2)),
    "oft": ("OFT", dict(oft_block_size=4), dict(use_cayley_neumann=False)),
    "olora": ("LORA", dict(r=4, init_lora_weights="olora"), {}),
    "peanut": ("PEANUT", dict(r=4), dict(depth=1, act_fn="gelu")),
    "pissa": ("LORA", dict(r=4, init_lora_weights="pissa"), {}),
    "psoft": ("PSOFT", dict(r=4), dict(psoft_alpha=4, psoft_mag_a=False)),
    "pvera": ("PVERA", dict(r=4), dict(projection_prng_key=3)),
    "randlora": ("RANDLORA", dict(r=4), dict(projection_prng_key=3, randlora_alpha=8)),
    "road": ("ROAD", dict(group_size=32), dict(variant="road_2")),
    "rslora": ("LORA", dict(r=4, use_rslora=True), {}),
    "shira": ("SHIRA", dict(r=4), dict(random_seed=3)),
    "supertuning": ("SUPERTUNING", dict(sparsity=0.99), dict(select_top=False)),
    "tinylora": ("TINYLORA", dict(r=4), dict(projection_seed=3, u=5)),
    "unilora": ("UNILORA", dict(r=4), dict(proj_seed=3, theta_d_length=20)),
    "vblora": ("VBLORA", dict(r=4, vector_length=32), dict(num_vectors=6)),
    "vera": ("VERA", dict(r=4), dict(projection_prng_key=3)),
    "waveft": ("WAVEFT", dict(n_frequency=128), dict(random_loc_seed=3, wavelet_family="db2", scaling=5.0)),
}
# one tuner for each path through our code: peft runs and merges it; the same with a second set of tensors; prepared in
# float32, with and without a piece of the weight; run by its weight update; random constants from the seed, as buffers
# and as indices in a dictionary; parameters that all matrices share
PATHS = ["lora", "dora", "pissa", "psoft", "c3a", "vera", "shira", "vblora"]
each_path = pytest.mark.parametrize("tuner", PATHS)
each = pytest.mark.parametrize(
    "tuner", [pytest.param(name, marks=[] if name in PATHS else [pytest.mark.slow]) for name in ASKED]
)
# options with which a tuner that starts near the pre-trained function is moved off it by the test's steps
STRONGER = {
    "unilora": dict(init_theta_d_bound=0.5),
    "vblora": dict(num_vectors=16, init_vector_bank_bound=0.5),
    "waveft": dict(scaling=10.0),
}


class Split(nn.Module):
    """timm's fused layer as three, rows in the order q, k, v."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        for name, weight, bias in zip("qkv", fused.weight.chunk(3), fused.bias.chunk(3), strict=True):
            layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
            layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.q(x), self.k(x), self.v(x)], dim=-1)


def network() -> nn.Module:
    """With weights that float32 can hold, in which peft prepares some tuners."""
    return vit(mlp_ratio=2.0).float().double()


def adapted(tuner: str, model: nn.Module | None = None) -> aoft_bench.methods.Handle:
    torch.manual_seed(7)
    model = network() if model is None else model
    handle = aoft_bench.attach(model, "peft", tuner=tuner, rank=4, targets=TARGETS, options=ASKED[tuner][2])
    return handle


def split_name(name: str) -> str:
    """The name that a tensor of ours has in `by_peft_alone`."""
    return re.sub(r"\.parts\.(fc1|proj|fc2)", "", name).replace(".parts.", ".")


def by_peft_alone(tuner: str) -> nn.Module:
    """peft on a network of separate layers, nothing of ours between."""
    import peft

    model = network().float() if TUNERS[tuner].single else network()
    for block in model.blocks:
        block.attn.qkv = Split(block.attn.qkv)
    kind, options, more = ASKED[tuner]
    config = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType[kind]](
        target_modules=TARGETS, **{**options, **more}
    )
    return peft.get_peft_model(model, config).base_model.model.double().eval()


def test_all_tuners_are_here():
    assert set(ASKED) == set(TUNERS) == set(get_args(TunerName))


@each
@pytest.mark.filterwarnings("ignore:Failed to load the CUDA", "ignore:Setting boft_n_butterfly_factor")
def test_outputs_and_gradients_are_those_of_peft_alone(tuner):
    handle, reference = adapted(tuner), by_peft_alone(tuner)
    perturb(handle)
    here = {split_name(name): value for name, value in handle.model.state_dict().items()}
    trained = {split_name(name): parameter for name, parameter in handle.trained()}
    theirs = {name: parameter for name, parameter in reference.named_parameters() if parameter.requires_grad}
    body = {name for name in trained if not name.startswith("head.")}
    assert theirs.keys() == body
    assert sum(p.numel() for p in theirs.values()) == handle.trainable_parameters(head=False)
    assert handle.method.count(aoft_bench.methods.Shape(2, 32, 64)) == handle.trainable_parameters(head=False)
    copied = body | {"head.weight", "head.bias"}
    if tuner in ("pissa", "olora"):  # what is left of the weight beside the factors
        copied |= {name for name in here if name.endswith("base_layer.weight")}
    reference.load_state_dict({name: here[name] for name in copied}, strict=False)
    if tuner in ("fourierft", "shira", "waveft"):  # a plain dict in peft
        assert any("indices" in name for name in handle.state_dict())
    images, labels = batch(16)
    outputs = {}
    for name, model in {"ours": handle.model, "theirs": reference}.items():
        outputs[name] = model(images)
        F.cross_entropy(outputs[name], labels).backward()
    # peft computes the activations of these two in float32
    near = dict(rtol=0.0, atol=1e-5) if tuner in ("c3a", "deft") else TIGHT
    assert (outputs["ours"] - network()(images)).abs().max() > 1e-3
    assert_close(outputs["ours"], outputs["theirs"], **near)
    for name, parameter in theirs.items():
        if tuner == "c3a" and not name.startswith("blocks.1.mlp"):
            continue  # peft's backward gives layers below a wrong gradient; see below
        assert_close(trained[name].grad, parameter.grad, **near, msg=lambda text, name=name: f"{name}: {text}")
    with torch.no_grad():
        assert_close(handle.merge()(images), outputs["ours"], **TIGHT)
        handle.unmerge()
        assert torch.equal(handle.model(images), outputs["ours"])


def test_gradients_of_c3a_are_those_of_its_outputs():
    handle, images = adapted("c3a"), batch(16)[0]
    perturb(handle)
    kernel = handle.model.blocks[0].attn.qkv.parts["q"].c3a_kernel["default"]
    weights = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad((handle.model(images) * weights).sum(), kernel)
    direction, values = slope / slope.norm(), []
    with torch.no_grad():
        for step in (0.05, -0.1):
            kernel += step * direction
            values.append((handle.model(images) * weights).sum())
    assert ((values[0] - values[1]) / 0.1).item() == pytest.approx(slope.norm().item(), rel=1e-3)


@each
def test_start_count_and_backward_pass_are_as_our_table_says(tuner):
    method = build("peft", dict(tuner=tuner, options=STRONGER.get(tuner, {})))
    for check in (contract.check_start, contract.check_count, contract.check_backward_size):
        check(method)


@each_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_backbones_own_weights_are_read_only(tuner, dtype):
    model = network().to(dtype)
    frozen = {name: (parameter, parameter.detach().clone()) for name, parameter in model.named_parameters()}
    fused = {parameter.untyped_storage().data_ptr() for parameter, _ in frozen.values()}
    handle = adapted(tuner, model)
    perturb(handle)
    handle.merge()
    handle.unmerge()
    for name, (parameter, value) in frozen.items():
        if not name.startswith("head."):
            assert torch.equal(parameter, value), name
            assert not parameter.requires_grad
    for name, buffer in model.named_buffers():  # not a second copy, except where peft splits the weight
        if name.endswith(("base_layer.weight", "base_layer.bias", "parts.k.weight", "parts.k.bias")):
            shared = buffer.untyped_storage().data_ptr() in fused
            assert shared != (tuner in ("pissa", "olora") and name.endswith("base_layer.weight")), name
            assert shared == (name not in handle.state_dict())
    assert all(t.dtype == dtype for t in model.state_dict().values() if t.is_floating_point())


@pytest.mark.parametrize("targets", [["q", "v"], ["k", "proj", "fc2"]])
def test_lora_of_peft_is_our_lora(targets):
    mine = aoft_bench.attach(network(), "lora", rank=4, alpha=6.0, targets=targets)
    theirs = aoft_bench.attach(network(), "peft", tuner="lora", rank=4, targets=targets, options=dict(lora_alpha=6))
    perturb(mine)
    with torch.no_grad():
        for one, other in zip(mine.model.blocks, theirs.model.blocks, strict=True):
            for target in targets:
                part, name = ("mlp", target) if target == "fc2" else ("attn", "proj" if target == "proj" else "qkv")
                update = getattr(getattr(one, part), name).updates[target]
                peft_layer = getattr(getattr(other, part), name).parts[target]
                peft_layer.lora_A["default"].weight.copy_(update.a.T)
                peft_layer.lora_B["default"].weight.copy_(update.b)
        theirs.model.head.load_state_dict(mine.model.head.state_dict())
        assert_close(theirs.model(batch(16)[0]), mine.model(batch(16)[0]), **TIGHT)
    assert mine.trainable_parameters() == theirs.trainable_parameters()


@each_path
def test_layers_without_bias(tuner):
    model = vit(mlp_ratio=2.0, qkv_bias=False).float().double()
    handle = adapted(tuner, model)
    perturb(handle)
    with torch.no_grad():
        expected = model(batch(16)[0])
        assert_close(handle.merge()(batch(16)[0]), expected, **TIGHT)


def test_random_constants_come_from_the_runs_seed_and_are_saved():
    for tuner in sorted(name for name, spec in TUNERS.items() if spec.seed and name != "psoft"):  # exact svd by default
        found = []
        for seed in (1, 2):
            model = vit()
            torch.manual_seed(seed)
            handle = aoft_bench.attach(model, "peft", tuner=tuner, rank=4)
            trained = {name for name, _ in handle.trained()}
            found.append({name: value for name, value in handle.state_dict().items() if name not in trained})
        assert any(not torch.equal(value, found[1][name]) for name, value in found[0].items()), tuner


def test_options_of_peft_reach_it_and_a_part_of_the_blocks_can_be_adapted():
    handle = aoft_bench.attach(vit(), "peft", tuner="lora", options=dict(layers_to_transform=[1]))
    assert {name.split(".")[1] for name, _ in handle.trained() if name.startswith("blocks")} == {"1"}
    assert handle.method.count(aoft_bench.methods.Shape(2, 32, 128)) is None
    assert isinstance(handle.model.blocks[0].attn.qkv, PeftLinear)
    for init, starts in [(True, True), (False, False), ("gaussian", True)]:
        assert build("peft", dict(tuner="lora", options=dict(init_lora_weights=init))).starts_at_backbone == starts


# -- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, text",
    [
        (
            dict(tuner="lora", options=dict(lora_alfa=1)),
            r"unknown option of peft's lora 'lora_alfa' \(did you mean 'lor",
        ),
        (dict(tuner="lora", options=dict(target_modules=["q"])), "unknown option of peft's lora 'target_modules'"),
        (dict(tuner="lorra"), "did you mean 'lora'"),
        (dict(tuner="lora", options=3), "options: got 3"),
        (dict(tuner="oft", rank=5), r"method\.rank=5 does not suit peft's oft; close to it are \[2, 4, 8, 16\]"),
        (dict(tuner="hra", rank=3), r"method\.rank=3 does not suit peft's hra; close to it are \[2, 4, 6, 8\]"),
        (dict(tuner="vera", rank=33), r"method\.rank is too large: got 33"),
        (dict(tuner="gralora", rank=3), r"peft's gralora cannot adapt this VisionTransformer: .*r should be divisible"),
        (dict(tuner="vblora", options=dict(vector_length=5)), r"peft's vblora cannot adapt this VisionTransformer"),
        (
            dict(tuner="lora", options=dict(init_lora_weights="olora")),
            "changes the frozen weight|[Uu]nsupported data type",
        ),
        (dict(tuner="boft", options=dict(boft_n_butterfly_factor=2)), r"needs its CUDA kernel"),
    ],
)
def test_mistakes_are_refused_in_one_line(options, text):
    model = vit()
    with pytest.raises(UserError, match=text) as raised:
        aoft_bench.attach(model, "peft", **options)
    assert "\n" not in str(raised.value)
    assert not any(isinstance(module, PeftLinear) for module in model.modules())


def test_without_peft_there_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft.mapping", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[peft\]'") as raised:
        aoft_bench.attach(vit(), "peft")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_peft_is_imported_by_attaching_only_and_reaches_for_no_network():
    code = """
import sys, socket
import aoft_bench.methods
assert "peft" in aoft_bench.methods.names() and aoft_bench.methods.build("peft", {}).count
assert not {"peft", "transformers", "accelerate"} & sys.modules.keys()
def refuse(*_): raise SystemExit("network")
socket.socket.connect = socket.getaddrinfo = refuse
import timm, torch
model = timm.models.vision_transformer.VisionTransformer(img_size=16, patch_size=4, embed_dim=32, depth=1, num_heads=2)
aoft_bench.attach(model, "peft", tuner="vera")
assert "peft" in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
