"""W + B A^T, for random shapes, ranks, targets: what is trained, what is merged and the formula are one function."""

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import TIGHT, batch, perturb, vit
from torch.testing import assert_close

import aoft_bench
from aoft_bench import methods
from aoft_bench.backbones.layout import block_paths, matrix_of

TARGETS = ("q", "k", "v", "proj", "fc1", "fc2")
shapes = st.builds(
    lambda heads, width, ratio, depth, bias: dict(
        num_heads=heads, embed_dim=4 * heads * width, mlp_ratio=ratio, depth=depth, qkv_bias=bias
    ),
    st.sampled_from([1, 2, 3]),
    st.integers(1, 3),
    st.sampled_from([0.5, 1.0, 2.5]),
    st.integers(1, 2),
    st.booleans(),
)
targets = st.lists(st.sampled_from(TARGETS), min_size=1, unique=True)


def options_of(method: str) -> set[str]:
    """Names of the options of a method."""
    return {field.name for field in dataclasses.fields(methods.get(method))}


@pytest.mark.parametrize(
    "method", [name for name in methods.names() if name != "peft" and options_of(name) >= {"targets", "rank"}]
)
@given(shape=shapes, targets=targets, rank=st.integers(1, 2), seed=st.integers(0, 9))
@settings(max_examples=15)
def test_the_merged_and_the_trained_form_compute_the_same(
    method: str, shape: dict[str, Any], targets: list[str], rank: int, seed: int
) -> None:
    start = {"init": "zero"} if method == "aoft" else {}  # its own start needs rank 2
    handle = aoft_bench.attach(vit(**shape), method, targets=targets, rank=rank, **start)
    perturb(handle, seed)
    images, _ = batch(16)
    with torch.no_grad():
        trained = handle.model(images)
        merged = handle.merge()(images)
        unmerged = handle.unmerge()(images)
    assert_close(merged, trained, **TIGHT)
    assert torch.equal(unmerged, trained)


@given(shape=shapes, targets=targets, rank=st.integers(1, 2), alpha=st.floats(0.5, 8), seed=st.integers(0, 9))
@settings(max_examples=40)
def test_each_matrix_gets_its_update_in_its_own_rows(
    shape: dict[str, Any], targets: list[str], rank: int, alpha: float, seed: int
) -> None:
    handle = aoft_bench.attach(vit(**shape), "lora", rank=rank, alpha=alpha, targets=targets)
    perturb(handle, seed)
    state = handle.state_dict()
    found = handle.factors()
    assert len(found) == shape["depth"] * len(targets)
    expected = vit(**shape)
    for path, block in block_paths(expected):
        for target in targets:
            (factors,) = (one for name, one in found.items() if name.startswith(path) and name.endswith(f".{target}"))
            matrix = matrix_of(block, target)
            a, b = factors.update
            assert a.shape == (matrix.inputs, rank) and b.shape == (matrix.outputs, rank)
            with torch.no_grad():
                matrix.layer.weight[matrix.rows] += b @ a.T
    expected.load_state_dict({name: value for name, value in state.items() if name.startswith("head.")}, strict=False)
    merged = handle.merge().state_dict()
    assert merged.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert_close(merged[name], value, **TIGHT, msg=lambda text, name=name: f"{name}: {text}")
