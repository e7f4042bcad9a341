"""FacT, Bi-LoRA and HTA against dense updates that are built here from the formulas, in float64."""

import copy
import io
import math

import pytest
import torch
from networks import TIGHT, batch, perturb, vit
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench.methods.bi_lora import binarize
from aoft_bench.utils.errors import UserError

D = 32  # width of the tiny ViT
PATHS = {"q": "attn.qkv", "k": "attn.qkv", "v": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


def rows(target: str) -> slice:
    start = "qkv".find(target) * D
    return slice(start, start + D) if target in ("q", "k", "v") else slice(None)


def updates(model: nn.Module) -> list[tuple[int, str, dict[str, Tensor]]]:
    """(block, target, parameters) of every update, read off the names of the parameters."""
    found: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        if ".updates." in name:
            block, (target, key) = int(name.split(".")[1]), name.split(".updates.")[1].split(".", 1)
            found.setdefault((block, target), {})[key] = parameter
    return [(block, target, parameters) for (block, target), parameters in found.items()]


def check_against_dense(name, options, deltas, gradients=True, adapt=None, **network):
    """The adapted ViT equals one whose weights W (in, out) are W + delta; so do the gradients, and the merged form.

    deltas(model) yields (block, target, delta (in, out)); adapt(model, weights) changes `weights` in another way.
    """
    plain, (x, _) = vit(**network), batch(16)
    handle = aoft_bench.attach(copy.deepcopy(plain), name, **options)
    perturb(handle)
    model = handle.model
    weights = {key: value.detach() for key, value in plain.named_parameters()}
    weights |= {f"head.{key}": value for key, value in model.head.named_parameters()}
    count = 0
    for block, target, delta in deltas(model):
        key = f"blocks.{block}.{PATHS[target]}.weight"
        weights[key] = weights[key].clone()
        weights[key][rows(target)] += delta.T
        assert delta.detach().abs().max() > 1e-3
        count += 1
    if adapt is not None:
        count += adapt(model, weights)
    assert count == len(options.get("targets", PATHS)) * len(model.blocks)
    expected = torch.func.functional_call(plain, weights, (x,))
    assert (expected - plain(x)).abs().max() > 1e-2
    assert_close(model(x), expected, **TIGHT)
    if gradients:
        trained = dict(handle.trained())
        mine = torch.autograd.grad(model(x).square().sum(), list(trained.values()))
        dense = torch.autograd.grad(expected.square().sum(), list(trained.values()))
        for key, one, other in zip(trained, mine, dense, strict=True):
            assert_close(one, other, rtol=1e-9, atol=1e-10, msg=lambda text, key=key: f"{key}: {text}")
    assert_close(handle.merge()(x), expected, **TIGHT)


# -- FacT ------------------------------------------------------------------------------------------------------------


def fact_deltas(scale, slices_of):
    """Slices one by one: s U C V^T is D x D, and stands in the matrix where the text says; `slices_of` gives all C."""

    def deltas(model):
        everything = updates(model)
        shared = everything[0][2]
        u, v = shared["shared.u"], shared["shared.v"]
        for block, target, own in everything:
            blocks = [scale * u @ c @ v.T for c in slices_of(shared, own)]
            assert all(b.shape == (D, D) for b in blocks)
            yield block, target, torch.cat(blocks, dim=1 if target == "fc1" else 0)

    return deltas


def tensor_train(shared, own):
    return list(own["core"])


def tucker(shared, own):
    core, p = shared["shared.core"], own["mixing"]
    return [sum(p[k, m] * core[:, :, k] for k in range(len(p))) for m in range(p.shape[1])]


FACT = {"fact_tt": tensor_train, "fact_tk": tucker}


@pytest.mark.parametrize("method", FACT)
@pytest.mark.parametrize("rank, scale, ratio", [(1, 1.0, 4.0), (5, 0.3, 4.0), (3, 2.0, 1.0), (32, 1.0, 2.0)])
def test_fact_is_the_dense_formula(method, rank, scale, ratio):
    options = dict(rank=rank, scale=scale)
    check_against_dense(method, options, fact_deltas(scale, FACT[method]), mlp_ratio=ratio)


@pytest.mark.parametrize("method", FACT)
def test_the_factors_are_shared_and_listed_once(method):
    model = vit()
    handle = aoft_bench.attach(model, method, rank=3)
    perturb(handle)
    shared = {key for key in model.state_dict() if ".shared." in key}
    assert {key.rpartition(".")[2] for key in shared} == ({"u", "v"} | ({"core"} if method == "fact_tk" else set()))
    assert len(shared) == len({key.rpartition(".")[2] for key in shared})
    assert shared == {key for key, _ in model.named_parameters() if ".shared." in key}

    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for copied in (copy.deepcopy(model), loaded, copy.deepcopy(model).float()):
        first = copied.blocks[0].attn.qkv.updates["q"].shared
        everywhere = [u for block in copied.blocks for part in (block.attn, block.mlp) for u in updates_in(part)]
        assert len(everywhere) == 12 and all(u._shared[0] is first for u in everywhere)
        last = everywhere[-1]
        before = last.weight().detach().clone()
        with torch.no_grad():
            first.v.mul_(2)
        assert_close(last.weight().detach(), 2 * before, rtol=1e-6, atol=0.0)
    assert not torch.equal(model.blocks[0].attn.qkv.updates["q"].shared.v, first.v.double())


def updates_in(part):
    return [u for layer in part.modules() if hasattr(layer, "updates") for u in layer.updates.values()]


@pytest.mark.parametrize("method", FACT)
def test_fact_refuses_a_hidden_width_that_is_no_multiple(method):
    with pytest.raises(UserError, match=r"fc1 is 32 -> 48 wide, .* multiple of the token width"):
        aoft_bench.attach(vit(mlp_ratio=1.5), method)


# -- CaRA ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank, ratio, qkv_bias", [(3, 4.0, True), (5, 2.0, False)])
def test_cara_is_two_tensors_in_canonical_form(rank, ratio, qkv_bias):
    scale, n = 0.7, int(ratio)

    def tensors(model):
        """The dense updates of q, k and v, (3 L, D, D), and of the rest, (slices, D, D); what all share."""
        found = updates(model)
        rows = {(block, target): own["rows"] for block, target, own in found}
        e = {key.removeprefix("shared."): value for key, value in found[0][2].items()}
        of_qkv = torch.cat([rows[block, target] for block in range(len(model.blocks)) for target in "qkv"])
        of_rest = torch.cat([rows[b, target] for b in range(len(model.blocks)) for target in ("proj", "fc1", "fc2")])
        factors = (e["weights"], of_qkv, e["inputs"], e["heads"], e["channels"])
        attention = scale * torch.einsum("r,kr,ir,hr,cr->kihc", *factors).flatten(2)
        rest = scale * torch.einsum("r,mr,or,ir->moi", e["other_weights"], of_rest, e["outputs"], e["others"])
        return attention, rest, e

    def deltas(model):
        attention, rest, _ = tensors(model)
        for block in range(len(model.blocks)):
            yield from ((block, target, attention[3 * block + i]) for i, target in enumerate("qkv"))
            proj, fc1, fc2 = rest[block * (1 + 2 * n) :][: 1 + 2 * n].split([1, n, n])
            yield block, "proj", proj[0].T
            yield block, "fc1", fc1.flatten(0, 1).T
            yield block, "fc2", fc2.flatten(0, 1)

    def adapt(model, weights):
        shared = tensors(model)[2]
        for key in [key for key in weights if key.startswith("blocks") and key.endswith("bias")]:
            target = key.split(".")[-2]
            if f"shifts.{target}" in shared:
                weights[key] = weights[key] + scale * shared[f"shifts.{target}"]
        return 0

    options = dict(rank=rank, scale=scale, lambda_mean=1.2, lambda_std=0.1)
    check_against_dense("cara", options, deltas, adapt=adapt, mlp_ratio=ratio, qkv_bias=qkv_bias)


# -- Bi-LoRA ---------------------------------------------------------------------------------------------------------

LEVEL = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(0.75, dtype=torch.float64)).item()


def two_values(w: Tensor) -> Tensor:
    mean, std = w.mean(), ((w - w.mean()).square().sum() / (w.numel() - 1)).sqrt()
    return torch.where(w > mean, mean + LEVEL * std, mean - LEVEL * std)


@pytest.mark.parametrize("scale, targets", [(1.0, ["q", "v"]), (3.0, list(PATHS))])
def test_bi_lora_is_the_dense_formula(scale, targets):
    def deltas(model):
        for block, target, own in updates(model):
            yield block, target, scale * two_values(own["a"]) @ two_values(own["b"]).T

    check_against_dense("bi_lora", dict(rank=4, scale=scale, targets=targets), deltas, gradients=False)


def test_a_quantised_matrix_has_two_values_and_the_straight_through_gradient():
    generator = torch.Generator().manual_seed(0)
    w, g = (torch.randn(7, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    w = (0.2 * w + 0.1).requires_grad_()
    q = binarize(w)
    assert len(q.detach().unique()) == 2
    assert_close(q, two_values(w), **TIGHT)
    (got,) = torch.autograd.grad((q * g).sum(), w)
    # q = n std + mean with dn = d((w - mean) / (std + e)), while the value of n is the level
    with torch.no_grad():
        n, mean, std, e = w.numel(), w.mean(), w.std(), 1e-5
        level = (q - mean) / std
        of_std = (g * level).sum() - std * (g * (w - mean)).sum() / (std + e) ** 2
        of_mean = g.sum() - std / (std + e) * g.sum()
        expected = g * std / (std + e) + of_mean / n + of_std * (w - mean) / ((n - 1) * std)
    assert_close(got, expected, **TIGHT)
    assert (got - g).abs().max() > 1e-2


# -- HTA -------------------------------------------------------------------------------------------------------------


def reflection(v: Tensor, normalize: bool) -> Tensor:
    factor = 2 / (v @ v) if normalize else 1.0
    return torch.eye(len(v)).to(v) - factor * torch.outer(v, v)


def dense_hta(own: dict[str, Tensor], normalize: bool) -> Tensor:
    left, right, d = own["left"], own["right"], own["diagonal"]
    n = len(d)
    middle = torch.zeros(len(left), len(right), dtype=d.dtype)
    middle[range(n), range(n)] = d
    total = reflection(left, normalize) @ middle @ reflection(right, normalize)
    return total + own["a"] @ own["b"].T if "a" in own else total


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("targets", [["q", "k", "v", "proj"], ["v", "fc1", "fc2"]])
def test_hta_is_the_dense_formula(normalize, k, targets):
    def deltas(model):
        for block, target, own in updates(model):
            assert ("a" in own) == (k > 0)
            yield block, target, dense_hta(own, normalize)

    check_against_dense("hta", dict(targets=targets, extra_rank=k, normalize=normalize), deltas)


@pytest.mark.parametrize("normalize, k", [(True, 0), (True, 2), (False, 1)])
def test_hta_on_outputs_is_the_dense_formula(normalize, k):
    def adapt(model, weights):
        count = 0
        for block, layers in enumerate(model.blocks):
            for path, layer in (("attn.proj", layers.attn.proj), ("mlp.fc2", layers.mlp.fc2)):
                factor = torch.eye(D).double() + dense_hta(dict(layer.update.named_parameters()), normalize)
                for kind in ("weight", "bias"):
                    key = f"blocks.{block}.{path}.{kind}"
                    weights[key] = factor.T @ weights[key]
                count += 1
        return count

    options = dict(targets=["mha", "ffn"], extra_rank=k, normalize=normalize)
    check_against_dense("hta", options, lambda model: (), adapt=adapt)


def test_reflections_are_orthogonal_and_both_forms_start_alike():
    starts = []
    for normalize in (True, False):
        torch.manual_seed(0)
        handle = aoft_bench.attach(vit(), "hta", normalize=normalize)
        own = updates(handle.model)[0][2]
        assert own["left"].norm().item() == pytest.approx(math.sqrt(2))
        starts.append(reflection(own["left"], normalize).detach())
        assert_close(starts[-1] @ starts[-1].T, torch.eye(D).double(), rtol=0.0, atol=1e-6)  # drawn in float32
        assert updates(handle.model)[0][2]["diagonal"].abs().max() == 0
    assert_close(starts[0], starts[1], rtol=0.0, atol=1e-6)


def test_an_hta_update_says_its_weight():
    model = vit()
    perturb(aoft_bench.attach(model, "hta", targets=["fc1"], extra_rank=2))
    update = model.blocks[0].mlp.fc1.updates["fc1"]
    assert_close(update.weight(), dense_hta(dict(update.named_parameters()), True).T, **TIGHT)


@pytest.mark.parametrize("targets, layer", [(["ffn", "fc2"], "fc2"), (["proj", "mha"], "proj")])
def test_hta_refuses_a_layer_and_its_output_together(targets, layer):
    with pytest.raises(UserError, match=f"is the output of {layer}, and only one of the two can be adapted"):
        aoft_bench.attach(vit(), "hta", targets=targets)


def test_hta_refuses_a_rank_above_the_width():
    with pytest.raises(UserError, match=r"method\.extra_rank is too large: got 33, but v is 32 -> 32 wide; give 1 to"):
        aoft_bench.attach(vit(), "hta", targets=["v"], extra_rank=33)
