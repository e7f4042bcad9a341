"""Houlsby's and Pfeiffer's adapters against blocks that are written out here from their weights, in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import TIGHT, batch, perturb, swin, vit
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench import methods
from aoft_bench.config import choices
from aoft_bench.methods import Handle

HOULSBY = [
    dict(bottleneck=d, positions=positions, bias=bias, tune_norms=tune_norms)
    for d in (1, 3)
    for positions in ("both", "ffn")
    for bias in (True, False)
    for tune_norms in (True, False)
]
WEIGHTS = ("weight", "bias")


def adapted(name: str, network: nn.Module, **options) -> Handle:
    """`network` with adapters that are off their starting point."""
    torch.manual_seed(7)
    handle = aoft_bench.attach(network, name, **options)
    perturb(handle)
    return handle


def normed(h: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-6) -> Tensor:
    """Layer norm, spelt out."""
    centred = h - h.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def bottleneck(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """gelu(x A + a) B + b; gelu by its definition."""
    z = x @ state["down.weight"].T + state.get("down.bias", 0)
    return (0.5 * z * (1 + torch.erf(z / 2**0.5))) @ state["up.weight"].T + state.get("up.bias", 0)


def inside(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    """Tensors below the first of `names` that has any, under their last names."""
    for name in names:
        if found := {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(f"{name}.")}:
            return found
    return {}


def dense_block(state: dict[str, Tensor], h: Tensor, of_attention: dict, of_ffn: dict, after: dict) -> Tensor:
    """A pre-norm block of two heads; adapters of its sublayers (Houlsby) and after it (Pfeiffer), empty: none."""
    attn, mlp = inside(state, "attn.base", "attn"), inside(state, "mlp.base", "mlp")
    x = normed(h, state["norm1.weight"], state["norm1.bias"])
    q, k, v = (x @ attn["qkv.weight"].T + attn["qkv.bias"]).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
    mixed = (((q @ k.mT) / 4).softmax(-1) @ v).transpose(1, 2).flatten(2)
    y = mixed @ attn["proj.weight"].T + attn["proj.bias"]
    h = h + (y + bottleneck(of_attention, y) if of_attention else y)
    x = normed(h, state["norm2.weight"], state["norm2.bias"])
    y = F.gelu(x @ mlp["fc1.weight"].T + mlp["fc1.bias"]) @ mlp["fc2.weight"].T + mlp["fc2.bias"]
    h = h + (y + bottleneck(of_ffn, y) if of_ffn else y)
    return h + bottleneck(after, normed(h, after["norm.weight"], after["norm.bias"])) if after else h


def dense_logits(model: nn.Module, images: Tensor) -> Tensor:
    """The whole adapted ViT from its state."""
    state = dict(model.state_dict())
    patches = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=4).flatten(2).mT
    h = torch.cat([state["cls_token"].expand(len(images), -1, -1), patches], 1) + state["pos_embed"]
    for index in range(len(model.blocks)):
        block = inside(state, f"blocks.{index}")
        parts = inside(block, "attn.adapter"), inside(block, "mlp.adapter"), inside(block, "after_ffn")
        h = dense_block(inside(block, "block") or block, h, *parts)
    return normed(h, state["norm.weight"], state["norm.bias"])[:, 0] @ state["head.weight"].T + state["head.bias"]


@pytest.mark.parametrize("options", HOULSBY, ids=lambda options: "-".join(map(str, options.values())))
@torch.no_grad()
def test_houlsby_is_the_formula(options):
    backbone, (images, _) = vit(), batch(16)
    model = adapted("adapter_houlsby", copy.deepcopy(backbone), **options).model
    names = {name.split(".", 2)[2] for name, _ in model.named_parameters() if ".adapter." in name}
    parts = ("attn", "mlp") if options["positions"] == "both" else ("mlp",)
    tensors = WEIGHTS if options["bias"] else ("weight",)
    assert names == {f"{part}.adapter.{side}.{t}" for part in parts for side in ("down", "up") for t in tensors}
    assert model.blocks[1].mlp.adapter.up.weight.shape == (32, options["bottleneck"])
    norms_moved = not torch.equal(model.blocks[0].norm1.weight, backbone.blocks[0].norm1.weight)
    assert norms_moved == options["tune_norms"]
    assert_close(model(images), dense_logits(model, images), **TIGHT)
    backbone.head.load_state_dict(model.head.state_dict())
    assert (model(images) - backbone(images)).abs().max() > 1e-3


@pytest.mark.parametrize("d", [1, 8])
@torch.no_grad()
def test_pfeiffer_is_the_formula(d):
    backbone, (images, _) = vit(), batch(16)
    model = adapted("adapter_pfeiffer", copy.deepcopy(backbone), bottleneck=d).model
    assert_close(model(images), dense_logits(model, images), **TIGHT)
    backbone.head.load_state_dict(model.head.state_dict())
    assert (model(images) - backbone(images)).abs().max() > 1e-3


@torch.no_grad()
def test_pfeiffer_is_the_sum_of_two_skip_connections():
    """As adapter_plus has it: adapter(y + s) + s, then added to y; s is the feed-forward part's output."""
    model, h = adapted("adapter_pfeiffer", vit()).model, torch.randn(2, 17, 32).double()
    for wrapped in model.blocks:
        block, state = wrapped.block, dict(wrapped.after_ffn.state_dict())
        y = h + block.attn(block.norm1(h))
        s = block.mlp(block.norm2(y))
        expected = bottleneck(state, normed(y + s, state["norm.weight"], state["norm.bias"])) + s + y
        assert_close(wrapped(h), expected, **TIGHT)


@pytest.mark.parametrize("method, std", [("adapter_houlsby", 0.01), ("adapter_pfeiffer", 0.02)])
def test_a_starts_as_in_the_papers_and_everything_else_at_zero(method, std):
    torch.manual_seed(7)
    handle = aoft_bench.attach(vit(), method, bottleneck=32)
    new = {k: p for k, p in handle.trained() if ".adapter." in k or ".after_ffn." in k}
    assert len(new) == (2 * 2 * 4 if method == "adapter_houlsby" else 2 * 6)
    for key, parameter in new.items():
        if key.endswith("down.weight"):
            assert parameter.abs().max() <= 2 * std
            assert abs(parameter.std() / std - 0.88) < 0.04  # a normal distribution cut at two standard deviations
        else:
            assert torch.equal(parameter, torch.full_like(parameter, float(key.endswith("norm.weight"))))


@pytest.mark.parametrize("network", [vit, swin])
def test_houlsby_trains_every_norm_of_the_backbone_only_with_tune_norms(network):
    own = {name for name, _ in network().named_parameters()}
    norms = {f"{path}.{t}" for path, m in network().named_modules() if isinstance(m, nn.LayerNorm) for t in WEIGHTS}
    head = {name for name in own if name.startswith("head.")}
    assert len(norms) == 2 * (5 if network is vit else 7)
    for tune_norms in (True, False):
        handle = aoft_bench.attach(network(), "adapter_houlsby", tune_norms=tune_norms)
        trained = {name for name, _ in handle.trained()} & own
        assert trained == (norms | head if tune_norms else head)


@torch.no_grad()
def test_adapters_stand_on_every_sublayer_of_a_swin():
    model, (images, _) = swin(), batch(32)
    before = model(images)
    handle = aoft_bench.attach(model, "adapter_houlsby", tune_norms=False)
    for key, parameter in handle.trained():
        if key.endswith("adapter.up.bias"):
            at_zero = model(images)
            assert_close(at_zero, before, **TIGHT)
            parameter.add_(torch.linspace(0, 1, len(parameter)))
            assert (model(images) - before).abs().max() > 1e-3, key
            parameter.zero_()


def test_the_matched_choice_counts_as_many_as_adapter_aoft():
    name, options = choices.read("adapter_matched")
    shape = methods.Shape(depth=12, width=768, hidden=3072)
    matched, aoft = methods.build(name, options), methods.build("aoft_adapter", dict(learn_lambda=False))
    assert matched.count(shape) == aoft.count(shape) == 36_864
    assert aoft.tunes(vit()) == matched.tunes(vit()) == []
