"""What methods declare as W_down and W_up is what they add to the network."""

import numpy as np
import pytest
import torch
from contract import adapted
from networks import TIGHT, perturb, swin, vit
from torch import nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench import methods
from aoft_bench.analysis.matrices import factor_matrices
from aoft_bench.analysis.measures import measure, spectral_norm
from aoft_bench.utils.errors import UserError

WITH_FACTORS = methods.names_with_factors()


def test_the_methods_of_the_paper_declare_factors():
    assert {"lora", "adapter", "aoft", "aoft_adapter"} <= set(WITH_FACTORS)


@pytest.mark.parametrize("name", WITH_FACTORS)
def test_factors_fit_together_and_follow_what_is_trained(name):
    handle = adapted(methods.build(name, {}))
    perturb(handle)
    before = {}
    for path, one in handle.factors().items():
        a, b = one.update
        assert one.down.shape[1] == one.up.shape[0]
        assert (a.shape[0], b.shape[0]) == (one.down.shape[0], one.up.shape[1]) and a.shape[1] == b.shape[1]
        before[path] = (a @ b.T).detach().clone()
    perturb(handle, seed=2)
    after = {path: one.update[0] @ one.update[1].T for path, one in handle.factors().items()}
    assert before.keys() == after.keys() and before
    assert all((after[path] - before[path]).abs().max() > 1e-3 for path in before)


@pytest.mark.parametrize(
    "name, options",
    [
        ("lora", dict(rank=2, alpha=6.0, targets=["q", "fc1", "proj"])),
        ("aoft", dict(rank=3)),
        ("aoft", dict(rank=3, learn_lambda=False)),
        ("aoft", dict(rank=3, init="zero", orthogonal=True, targets=["k", "fc2"])),
    ],
)
def test_updates_are_what_merging_adds(name, options):
    plain = vit()
    handle = adapted(methods.build(name, options))
    perturb(handle)
    updates = {path: one.update for path, one in handle.factors().items()}
    merged = handle.merge()
    seen = 0
    for path, (a, b) in updates.items():
        layer, _, target = path.replace(".updates.", " ").partition(" ")
        change = merged.get_submodule(layer).weight - plain.get_submodule(layer).weight
        if target in ("q", "k", "v"):
            change = change.chunk(3)["qkv".index(target)]
        assert_close(b @ a.T, change, **TIGHT)
        assert change.abs().max() > 1e-4
        seen += 1
    assert seen == len(options.get("targets", "qv12")) * 2  # two blocks


def test_an_aoft_adapter_adds_its_update():
    handle = adapted(methods.build("aoft_adapter", dict(norm="none", rank=3)))
    perturb(handle)
    h = torch.randn(2, 5, 32, dtype=torch.float64)
    for path, one in handle.factors().items():
        a, b = one.update
        assert_close(handle.model.get_submodule(path)(h) - h, h @ a @ b.T, **TIGHT)


def test_an_adapters_factors_are_its_two_matrices():
    handle = adapted(methods.build("adapter", dict(bottleneck=3)))
    perturb(handle)
    module, one = handle.model.blocks[1].mlp.adapter, handle.factors()["blocks.1.mlp.adapter"]
    h = torch.randn(4, 32, dtype=torch.float64)
    inside = nn.functional.gelu(h @ one.down + module.down.bias)
    assert_close(module(h), h + inside @ one.up + module.up.bias, **TIGHT)


def test_norms_by_layer_of_aoft_and_of_the_update():
    handle = adapted(
        methods.build("aoft", dict(rank=4, init="zero", constant="paper", orthogonal=True, targets=["q", "fc1"]))
    )
    perturb(handle)
    found = {(m.layer, m.name, m.part): m for m in factor_matrices(handle)}
    assert found.keys() == {(i, n, p) for i in (0, 1) for n in ("q", "fc1") for p in ("down", "up", "update")}
    assert found[1, "fc1", "down"].values.shape == (32, 4) and found[1, "fc1", "up"].values.shape == (4, 128)
    for (layer, name, part), matrix in found.items():
        update = handle.model.get_submodule(f"blocks.{layer}.{'attn.qkv' if name == 'q' else 'mlp.fc1'}").updates[name]
        if part == "update":  # AO has orthonormal columns, so lambda alone sets the norm
            assert spectral_norm(matrix.values) == pytest.approx(update.lambda_.abs().max().item(), abs=1e-10)
            dense = update.weight().detach().numpy()
            assert np.linalg.norm(matrix.values) == pytest.approx(np.linalg.norm(dense), abs=1e-10)
        else:
            assert spectral_norm(matrix.values) == pytest.approx(1, abs=1e-10)
            assert measure(matrix.vectors("columns" if part == "down" else "rows")).gram_raw < 1e-10


@pytest.mark.parametrize("name, places", [("adapter", {"mlp"}), ("aoft_adapter", {"after_attention", "after_ffn"})])
def test_adapters_are_named_by_their_place(name, places):
    matrices = factor_matrices(adapted(methods.build(name, {})))
    assert {m.name for m in matrices} == places and {m.layer for m in matrices} == {0, 1}


def test_layers_are_counted_through_the_stages_of_a_swin():
    matrices = factor_matrices(adapted(methods.build("adapter", {}), swin))
    assert {(m.layer, m.values.shape) for m in matrices if m.part == "down"} == {(0, (16, 8)), (1, (32, 8))}


def test_a_method_without_factors_and_a_diverged_one_are_refused():
    with pytest.raises(UserError, match="nothing that has W_down and W_up"):
        factor_matrices(aoft_bench.attach(vit(), "bitfit"))
    handle = aoft_bench.attach(vit(), "lora")
    next(p for name, p in handle.trained() if name.endswith(".b")).data.fill_(float("nan"))
    with pytest.raises(UserError, match="diverged"):
        factor_matrices(handle)
    merged = aoft_bench.attach(vit(), "lora")
    merged.merge()
    with pytest.raises(UserError, match="unmerge"):
        merged.factors()
