"""GOFT and qGOFT: against matrices that are built here from the paper's equations, and against the authors' code."""

import math

import pytest
import torch
from authors import of_authors
from networks import batch, perturb, vit
from test_weight_updates import PATHS, check_against_dense, rows
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench.methods.goft import Rotations, TransformedLinear
from aoft_bench.methods.qgoft import QuasiRotations


def dense(blocks: Tensor) -> Tensor:
    """R = P_n ... P_1 of 2 x 2 matrices (D - 1, 2, 2), each P a full matrix, after equation 3."""
    size = len(blocks) + 1
    r, planes, left = torch.eye(size).double(), list(blocks), list(range(size))
    while len(left) > 1:
        p = torch.eye(size).double()
        for i, j in zip(left[::2], left[1::2], strict=False):
            block = planes.pop(0)
            for row, m in enumerate((i, j)):
                for column, n in enumerate((i, j)):
                    p[m, n] = block[row, column]
        r, left = p @ r, left[::2]
    assert not planes
    return r


def blocks_of(pairs: nn.Module) -> Tensor:
    if isinstance(pairs, QuasiRotations):
        return pairs.blocks
    t = math.pi * torch.tanh(pairs.angles)
    return torch.stack([torch.stack([t.cos(), -t.sin()], -1), torch.stack([t.sin(), t.cos()], -1)], 1)


def adapted_layers(model):
    for index, block in enumerate(model.blocks):
        for target, path in PATHS.items():
            layer = block.get_submodule(path)
            if isinstance(layer, TransformedLinear) and target in layer.pairs:
                yield index, target, layer


@pytest.mark.parametrize("method", ["goft", "qgoft"])
@pytest.mark.parametrize("targets, ratio", [(["q", "v"], 4.0), (["v", "proj", "fc1", "fc2"], 1.5)])
def test_it_is_the_dense_formula(method, targets, ratio):
    orthogonal = []

    def deltas(model):
        for block, target, layer in adapted_layers(model):
            r = dense(blocks_of(layer.pairs[target]))
            orthogonal.append((r @ r.T - torch.eye(len(r))).abs().max().item())
            yield block, target, (r - torch.eye(len(r))) @ layer.base.weight[rows(target)].T

    check_against_dense(method, dict(targets=targets), deltas, mlp_ratio=ratio)
    assert max(orthogonal) < 1e-13 if method == "goft" else min(orthogonal) > 1e-2


@pytest.mark.parametrize("name, pairs", [("goft", Rotations), ("qgoft", QuasiRotations)])
def test_it_is_the_authors_code(name, pairs):
    """ArthurLeoM/peft-givens at 0fe813e, `Linear` of tuners/givens/layer.py, 11 inputs and 6 outputs."""
    theirs = of_authors(name)
    base = nn.Linear(11, 6).double()
    base.load_state_dict({"weight": theirs["weight"], "bias": theirs["bias"]})
    layer = TransformedLinear(base.requires_grad_(False))
    layer.pairs["fc1"], layer.rows["fc1"] = pairs(11).double(), slice(0, 6)
    (trained,) = layer.pairs.parameters()
    trained.data = theirs["trained"]
    x = theirs["x"].requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    for got, key in ((y, "y"), (x.grad, "grad_x"), (trained.grad, "grad_trained")):
        assert_close(got, theirs[key], rtol=1e-12, atol=1e-12)


def test_the_penalty_of_qgoft_is_on_the_inner_products_of_columns():
    handle = aoft_bench.attach(vit(), "qgoft", penalty=0.3)
    perturb(handle)
    (images, labels), products = batch(16), []
    for _, target, layer in adapted_layers(handle.model):
        products += [p @ q for p, q in (block.T for block in layer.pairs[target].blocks)]
    assert len(products) == 2 * 2 * 31
    penalty = 0.3 * torch.stack(products).square().sum()
    assert penalty > 0.1
    expected = nn.functional.cross_entropy(handle.model(images).float(), labels) + penalty
    assert_close(handle.loss(images, labels), expected, rtol=1e-6, atol=1e-6, check_dtype=False)  # logits in float32
