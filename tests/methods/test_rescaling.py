"""SSF, ARC and RLRR against a ViT that is computed here from its weights, with each formula written out, in float64."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from networks import TIGHT, batch, perturb, swin, timm, vit
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench.methods import Handle
from aoft_bench.methods.rlrr import ResidualRescaled

Layer = Callable[[str, Tensor], Tensor]
INITS = ["released", "identity"]
SETTINGS = [("ssf", dict(init=i)) for i in INITS] + [("rlrr", dict(init=i)) for i in INITS]
SETTINGS += [("arc", dict(init=i, bottleneck=d)) for i in INITS for d in (None, 3)]
NETWORKS = {
    "plain": vit,
    "no bias in qkv": lambda: vit(qkv_bias=False),
    "norm of patches": lambda: vit(embed_norm_layer=timm.layers.LayerNorm),
}


def adapted(name: str, options: dict, model: nn.Module) -> Handle:
    """With what is trained moved off its start."""
    torch.manual_seed(3)
    handle = aoft_bench.attach(model, name, **options)
    perturb(handle)
    return handle


def dense_vit(net: nn.Module, images: Tensor, layer: Layer) -> Tensor:
    """Logits of a pre-norm ViT of two heads; layer(path, x) gives the output of each of its layers."""
    x = layer("patch_embed.proj", images).flatten(2).transpose(1, 2)
    if isinstance(net.patch_embed.norm, nn.LayerNorm):
        x = layer("patch_embed.norm", x)
    x = torch.cat([net.cls_token.expand(len(x), -1, -1), x], 1) + net.pos_embed
    for path in (f"blocks.{i}" for i in range(len(net.blocks))):
        fused = layer(f"{path}.attn.qkv", layer(f"{path}.norm1", x))
        q, k, v = fused.unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.mT) / 4).softmax(-1) @ v
        x = x + layer(f"{path}.attn.proj", mixed.transpose(1, 2).flatten(2))
        x = x + layer(f"{path}.mlp.fc2", F.gelu(layer(f"{path}.mlp.fc1", layer(f"{path}.norm2", x))))
    return layer("norm", x)[:, 0] @ net.head.weight.T + net.head.bias


def frozen(layer: nn.Module, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """The layer as it was pre-trained, or with another weight."""
    weight = layer.weight if weight is None else weight
    bias = 0 if layer.bias is None else layer.bias
    if isinstance(layer, nn.Linear):
        return x @ weight.T + bias
    if isinstance(layer, nn.LayerNorm):
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + layer.eps).sqrt() * weight + bias
    patches = F.unfold(x, layer.kernel_size, stride=layer.stride)
    return (weight.flatten(1) @ patches + bias[:, None]).unflatten(-1, (4, 4))


def dense_layers(name: str, net: nn.Module, trained: dict[str, Tensor]) -> Layer:
    """Each layer of the adapted network, as the formula of the method has it."""

    def scaled_and_shifted(path: str, x: Tensor) -> Tensor:
        y = frozen(net.get_submodule(path), x)
        scale, shift = trained[f"{path}.scale"], trained[f"{path}.shift"]
        channel = 1 if path == "patch_embed.proj" else y.ndim - 1
        return torch.stack([scale[c] * y.select(channel, c) + shift[c] for c in range(len(scale))], channel)

    def recomposed(path: str, x: Tensor) -> Tensor:
        if path.endswith(("attn.qkv", "mlp.fc1")):
            down = trained["blocks.0." + path.split(".", 2)[2] + ".down"]
            c, b = trained[f"{path}.coefficients"], trained[f"{path}.shift"]
            x = x @ (torch.eye(32).double() + down @ torch.diag(c) @ down.T) + b
        return frozen(net.get_submodule(path), x)

    def rescaled(path: str, x: Tensor) -> Tensor:
        layer = net.get_submodule(path)
        if not isinstance(layer, nn.Linear):
            return scaled_and_shifted(path, x)
        left, right, shift = (trained[f"{path}.{key}"] for key in ("left", "right", "shift"))
        rows = len(left) // len(right)
        assert len(right) == (3 if path.endswith("qkv") else 1)
        matrices = [
            w + torch.diag(l_) @ w @ torch.diag(r)
            for w, l_, r in zip(layer.weight.split(rows), left.split(rows), right, strict=True)
        ]
        return frozen(layer, x, torch.cat(matrices)) + shift

    return {"ssf": scaled_and_shifted, "arc": recomposed, "rlrr": rescaled}[name]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method, options", SETTINGS)
def test_outputs_and_gradients_are_those_of_the_formula_and_merging_keeps_them(method, options, network):
    backbone, (images, labels) = NETWORKS[network](), batch(16)
    plain = copy.deepcopy(backbone)
    handle = adapted(method, options, backbone)
    trained = dict(handle.trained())
    plain.head = handle.model.head
    expected = dense_vit(plain, images, dense_layers(method, plain, trained))
    got = handle.model(images)
    assert (got - plain(images)).abs().max() > 1e-2
    assert_close(got, expected, **TIGHT)
    mine, theirs = (torch.autograd.grad(F.cross_entropy(y, labels), list(trained.values())) for y in (got, expected))
    for key, one, other in zip(trained, mine, theirs, strict=True):
        assert_close(one, other, **TIGHT, msg=lambda text, key=key: f"{key}: {text}")
    before = torch.get_rng_state()
    assert_close(handle.merge()(images), expected, **TIGHT)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", ["ssf", "rlrr"])
def test_a_merged_layer_keeps_its_class_and_settings(method):
    plain = vit(qkv_bias=False)
    model = adapted(method, {}, copy.deepcopy(plain)).merge()
    for path, layer in plain.named_modules():
        merged = model.get_submodule(path)
        assert type(merged) is type(layer)
        if isinstance(layer, nn.LayerNorm):
            assert (merged.eps, merged.normalized_shape) == (layer.eps, layer.normalized_shape)
        if isinstance(layer, nn.Conv2d):
            assert (merged.kernel_size, merged.stride) == (layer.kernel_size, layer.stride)
    assert model.blocks[0].attn.qkv.bias is not None
    assert not any(p.requires_grad for n, p in model.named_parameters() if not n.startswith("head"))


# -- where and how they start ----------------------------------------------------------------------------------------


def adapted_paths(name: str, model: nn.Module) -> set[str]:
    """Paths of the layers that got something."""
    handle = adapted(name, {}, model)
    return {key.rpartition(".")[0] for key, _ in handle.trained()} - {"head", "head.fc"}


def test_ssf_and_rlrr_act_on_every_layer_of_a_vit_but_the_head():
    block = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]
    expected = {"patch_embed.proj", "norm"} | {f"blocks.{i}.{part}" for i in (0, 1) for part in block}
    assert adapted_paths("ssf", vit()) == adapted_paths("rlrr", vit()) == expected
    pooled = vit(global_pool="avg")  # which calls its last norm fc_norm
    assert adapted_paths("ssf", pooled) == expected - {"norm"} | {"fc_norm"}


def test_ssf_leaves_the_merging_of_patches_of_a_swin_as_it_is():
    extra = {"layers.1.downsample.reduction"}
    assert adapted_paths("rlrr", swin()) - adapted_paths("ssf", swin()) == extra
    assert {"patch_embed.norm", "layers.1.downsample.norm"} <= adapted_paths("ssf", swin())


@pytest.mark.parametrize("method", ["ssf", "rlrr"])
def test_scale_and_shift_start_where_the_authors_start_them(method):
    torch.manual_seed(0)
    for init, spread in (("released", 0.02), ("identity", 0.0)):
        handle = aoft_bench.attach(vit(embed_dim=512), method, init=init)
        norms = {key: p for key, p in handle.trained() if ".norm" in key}
        for key, middle in ((".scale", 1.0), (".shift", 0.0)):
            values = torch.cat([p.detach() for n, p in norms.items() if n.endswith(key)])
            assert len(values) == 4 * 512
            assert values.mean().item() == pytest.approx(middle, abs=3e-3)
            assert values.std().item() == pytest.approx(spread, rel=0.05, abs=1e-12)


def test_rlrr_draws_its_vectors_as_kaiming_uniform_of_a_column_and_of_a_row():
    torch.manual_seed(0)
    layer = ResidualRescaled(nn.Linear(600, 1800), 3, "released")
    assert layer.left.shape == (1800,) and layer.right.shape == (3, 600) and not layer.shift.any()
    for values, bound in ((layer.left, math.sqrt(6)), (layer.right, math.sqrt(6 / 600))):
        reference = nn.init.kaiming_uniform_(torch.empty(1800, 1) if bound > 1 else torch.empty(1, 600))
        assert 0.98 * bound < values.abs().max() <= bound and reference.abs().max() <= bound * (1 + 1e-6)
        assert values.std().item() == pytest.approx(reference.std().item(), rel=0.1)


def test_arc_draws_its_projections_as_xavier_uniform():
    torch.manual_seed(0)
    model = aoft_bench.attach(vit(embed_dim=512), "arc").model
    qkv, fc1 = model.blocks[0].attn.qkv, model.blocks[0].mlp.fc1
    assert qkv.down.shape == (512, 50) and not qkv.coefficients.any() and not fc1.shift.any()
    for values, bound in ((qkv.down, math.sqrt(6 / 562)), (fc1.coefficients, math.sqrt(6 / 51))):
        assert 0.9 * bound < values.abs().max() <= bound


# -- what is shared, and what is decayed -----------------------------------------------------------------------------


def downs(model: nn.Module) -> list[set[int]]:
    """Identities of A before attention and before the feed-forward part, over all blocks."""
    layers = dict(model.named_modules())
    return [{id(m.down) for n, m in layers.items() if n.endswith(end)} for end in ("attn.qkv", "mlp.fc1")]


def test_the_projections_of_arc_are_shared_once_and_stay_so():
    handle = adapted("arc", dict(bottleneck=3), vit())
    assert [key for key, _ in handle.trained() if key.endswith(".down")] == [
        "blocks.0.attn.qkv.down",
        "blocks.0.mlp.fc1.down",
    ]
    copied = copy.deepcopy(handle)
    fresh = aoft_bench.attach(vit(), "arc", bottleneck=3)
    fresh.load_state_dict(handle.state_dict())
    for model in (handle.model, copied.model, fresh.model, handle.model.float()):
        first, second = downs(model)
        assert len(first) == len(second) == 1 and first != second
    assert not downs(copied.model)[0] & downs(handle.model)[0]
    assert torch.equal(fresh.model.blocks[1].mlp.fc1.down.float(), handle.model.blocks[1].mlp.fc1.down)


def test_arc_shares_within_a_stage_of_a_swin():
    first, second = downs(adapted("arc", {}, swin()).model)
    assert len(first) == len(second) == 2


def test_what_the_authors_do_not_decay_is_not_decayed():
    assert set(adapted("ssf", {}, vit()).groups()) == {(1.0, 0.0), (1.0, 1.0)}
    for name, decayed in (("ssf", ()), ("rlrr", ("left", "right", "patch_embed.proj.scale", "patch_embed.proj.shift"))):
        handle = adapted(name, {}, vit())
        undecayed = {id(p) for p in handle.groups()[1.0, 0.0]}
        for key, parameter in handle.trained():
            assert (id(parameter) not in undecayed) == key.endswith(("head.weight", "head.bias", *decayed)), key


# -- the backward pass of rlrr ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6,), (2, 5, 6)])
@pytest.mark.parametrize("matrices, bias", [(1, True), (3, False)])
def test_gradcheck(shape, matrices, bias):
    torch.manual_seed(5)
    layer = ResidualRescaled(nn.Linear(6, 9, bias).requires_grad_(False), matrices, "released").double()
    names, values = zip(*((n, p) for n, p in layer.named_parameters() if p.requires_grad), strict=True)

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    x = torch.randn(*shape, dtype=torch.float64)
    assert names == ("left", "right", "shift")
    assert torch.autograd.gradcheck(run, (x.clone().requires_grad_(), *values))
    assert torch.autograd.gradcheck(run, (x, *values))


@torch.no_grad()
def test_diff_fit_scales_the_output_of_every_sublayer():
    images = batch(16)[0]
    handle = adapted("diff_fit", {}, vit(init_values=0.3))
    plain, trained = vit(init_values=0.3), dict(handle.trained())
    own = {name.replace(".base.", "."): value for name, value in trained.items() if not name.endswith(".gain")}
    assert {name for name, p in plain.named_parameters() if p.ndim == 1 and ".ls" not in name} == own.keys() - {
        "head.weight"
    }
    plain.load_state_dict(own, strict=False)
    for index, block in enumerate(plain.blocks):
        for part, layer in (("attn", "proj"), ("mlp", "fc2")):
            gain = torch.diag(trained[f"blocks.{index}.{part}.{layer}.gain"])
            block.get_submodule(part).register_forward_hook(lambda _, inputs, output, gain=gain: output @ gain)
    assert_close(handle.model(images), plain(images), **TIGHT)
