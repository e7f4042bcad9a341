"""RepAdapter against a plain re-derivation from its formula, in float64; and its folding, weight and bias."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import TIGHT, batch, perturb, swin, vit
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench.methods import Handle
from aoft_bench.methods.repadapter import RepAdapted
from aoft_bench.utils.errors import UserError

OPTIONS = [
    dict(bottleneck=8, groups=2, scale=1.0),
    dict(bottleneck=4, groups=1, scale=10.0),
    dict(bottleneck=4, groups=4, scale=0.1),
    dict(bottleneck=6, groups=2, scale=0.5),
]
each = pytest.mark.parametrize("options", OPTIONS, ids=["-".join(map(str, o.values())) for o in OPTIONS])
biased = pytest.mark.parametrize("qkv_bias", [True, False])


def adapted(model: nn.Module, **options: Any) -> Handle:
    """With everything that is trained moved, the head excepted."""
    torch.manual_seed(3)
    handle = aoft_bench.attach(model, "repadapter", **options)
    head = copy.deepcopy(model.get_classifier().state_dict())
    perturb(handle)
    model.get_classifier().load_state_dict(head)
    return handle


def layers(model: nn.Module) -> dict[str, RepAdapted]:
    return {name: module for name, module in model.named_modules() if isinstance(module, RepAdapted)}


def dense_adapter(layer: RepAdapted, x: Tensor, groups: int, scale: float) -> Tensor:
    """x + s ((x A + a) B + b) with B (d, D) written out: part g of the outputs reads part g of the bottleneck."""
    width, d = x.shape[-1], len(layer.down.bias)
    b = torch.zeros(d, width, dtype=x.dtype)
    for out in range(width):
        first = out // (width // groups) * (d // groups)
        for k in range(d // groups):
            b[first + k, out] = layer.up[out, k]
    return x + scale * ((x @ layer.down.weight.T + layer.down.bias) @ b + layer.up_bias)


def adapt_by_hand(plain: nn.Module, model: nn.Module, groups: int, scale: float) -> nn.Module:
    """`plain` with the formula in front of its qkv and fc1, with the numbers of the adapted `model`."""
    for path, layer in layers(model).items():
        plain.get_submodule(path).register_forward_pre_hook(
            lambda _, inputs, layer=layer: dense_adapter(layer, inputs[0], groups, scale)
        )
    return plain


@each
@biased
def test_adapted_model_and_its_merged_form_are_the_formula(options, qkv_bias):
    base, model = vit(qkv_bias=qkv_bias), vit(qkv_bias=qkv_bias)
    handle, x = adapted(model, **options), batch(16)[0]
    assert {path.split(".", 2)[2] for path in layers(model)} == {"attn.qkv", "mlp.fc1"} and len(layers(model)) == 4
    with torch.no_grad():
        before = base(x)
        expected = adapt_by_hand(base, model, options["groups"], options["scale"])(x)
        assert (expected - before).abs().max() > 1e-3
        assert_close(model(x), expected, **TIGHT)
        assert_close(handle.merge()(x), expected, **TIGHT)


@each
def test_gradients_are_those_of_the_formula(options):
    base, model, (x, labels) = vit(), vit(), batch(16)
    handle = adapted(model, **options)
    wanted = [p for key, p in handle.trained() if "head" not in key]
    reference = adapt_by_hand(base.requires_grad_(False), model, options["groups"], options["scale"])
    gradients = [torch.autograd.grad(F.cross_entropy(m(x), labels), wanted) for m in (model, reference)]
    assert len(wanted) == 16
    for one, other in zip(*gradients, strict=True):
        assert one.abs().max() > 1e-9
        assert_close(one, other, **TIGHT)


@biased
def test_folding_keeps_the_layer_that_it_folds(qkv_bias):
    model, plain = vit(qkv_bias=qkv_bias), vit(qkv_bias=qkv_bias)
    adapted(model)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    for path, layer in layers(model).items():
        folded, own = layer.merged(), plain.get_submodule(path)
        assert type(folded) is nn.Linear and not any(p.requires_grad for p in folded.parameters())
        assert torch.equal(layer.base.weight, own.weight) and (folded.weight - own.weight).abs().max() > 1e-3
        assert (layer.base.bias is None) == (own.bias is None) == (path.endswith("qkv") and not qkv_bias)
        shift = folded.bias if own.bias is None else folded.bias - own.bias
        assert_close(shift, layer(torch.zeros(32).double()) - layer.base(torch.zeros(32).double()), **TIGHT)
        assert shift.abs().max() > 1e-3
    assert torch.equal(torch.get_rng_state(), state)


def test_swin_is_the_formula_too():
    base, model, x = swin(), swin(), batch(32)[0]
    handle = adapted(model, bottleneck=4, scale=2.0)
    assert [layer.base.in_features for layer in layers(model).values()] == [16, 16, 32, 32]
    with torch.no_grad():
        expected = adapt_by_hand(base, model, 2, 2.0)(x)
        assert_close(model(x), expected, **TIGHT)
        assert_close(handle.merge()(x), expected, **TIGHT)


def test_it_starts_as_its_authors_do():
    torch.manual_seed(0)
    model = vit()
    aoft_bench.attach(model, "repadapter", bottleneck=16)
    for layer in layers(model).values():
        assert layer.up.shape == (32, 8) and not layer.up.any()
        assert not layer.up_bias.any() and not layer.down.bias.any()
        assert layer.down.weight.abs().max().item() == pytest.approx((6 / (32 + 16)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("bottleneck, groups", [(8, 3), (1, 2), (9, 3), (6, 4)])
def test_groups_must_divide_the_bottleneck_and_the_width(bottleneck, groups):
    with pytest.raises(UserError, match=rf"method\.groups does not fit: got {groups}, .*\({bottleneck}\).*\(32\)"):
        aoft_bench.attach(vit(), "repadapter", bottleneck=bottleneck, groups=groups)


def test_what_is_inserted_has_the_type_of_the_weights():
    model = vit().to(torch.bfloat16)
    aoft_bench.attach(model, "repadapter")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


# -- Consolidator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [None, 4])
@torch.no_grad()
def test_consolidator_adds_a_matrix_of_blocks_to_every_layer(groups):
    plain, images = vit(), batch(16)[0]
    handle = aoft_bench.attach(vit(), "consolidator", groups=groups)
    perturb(handle)
    trained = dict(handle.trained())
    own = {
        name.replace(".base.", "."): value for name, value in trained.items() if not name.endswith(("blocks", "shift"))
    }
    assert not plain.load_state_dict(own, strict=False).unexpected_keys
    assert {n for n, p in plain.named_parameters() if p.ndim == 1} - own.keys() == {"patch_embed.proj.bias"}
    for index, block in enumerate(plain.blocks):
        for path in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
            layer, g = block.get_submodule(path), groups or 16
            blocks = trained[f"blocks.{index}.{path}.blocks"]
            dense = torch.zeros(layer.in_features, layer.out_features).double()
            down, up = layer.in_features // g, layer.out_features // g
            assert blocks.shape == (g, down, up)
            for i in range(g):
                dense[i * down : (i + 1) * down, i * up : (i + 1) * up] = blocks[i]
            layer.weight += dense.T
            layer.bias += trained[f"blocks.{index}.{path}.shift"]
    assert_close(handle.model(images), plain(images), **TIGHT)
    assert_close(handle.merge()(images), plain(images), **TIGHT)


@torch.no_grad()
def test_consolidator_drops_the_branch_of_some_images_in_training():
    torch.manual_seed(0)
    model = vit()
    aoft_bench.attach(model, "consolidator", drop=0.25)
    layer, x = model.eval().blocks[0].mlp.fc1, torch.randn(64, 3, 32).double()
    branch = layer(x) - layer.base(x)
    got = layer.train()(x) - layer.base(x)
    dropped = (got == 0).all((1, 2))
    assert 4 < dropped.sum() < 32
    assert_close(got[~dropped], branch[~dropped] / 0.75, **TIGHT)


def test_consolidator_refuses_groups_that_do_not_divide():
    with pytest.raises(UserError, match=r"method\.groups does not fit: got 5, but q is 32 -> 96 wide"):
        aoft_bench.attach(vit(), "consolidator", groups=5)
