"""Blocks with the weights of the authors' public code compute what that code computes, and get its gradients.

The numbers are in fixtures/: one block of width 8 with two heads, made at the commit that is named here.
"""

from typing import Any, NamedTuple

import pytest
from authors import of_authors
from networks import vit
from torch import Tensor
from torch.testing import assert_close

import aoft_bench


class Case(NamedTuple):
    """options: of our method; parameters: our names inside the block -> theirs, with ``.T`` where it is transposed."""

    source: str
    options: dict[str, Any]
    parameters: dict[str, str]


CASES = {
    "bi_adaptformer": Case(
        "JieShibo/PETL-ViT@026e4f1 binary_adapter/adaptformer.py",
        dict(bottleneck=3, scale=1.7),
        {
            "adapter.matrices.a": "adapter_mlp.adapter_down.weight.T",
            "adapter.matrices.b": "adapter_mlp.adapter_up.weight",
        },
    ),
    "bi_lora": Case(
        "JieShibo/PETL-ViT@026e4f1 binary_adapter/lora.py",
        dict(rank=3, scale=1.7),
        {
            f"attn.qkv.updates.{target}.{ours}": f"attn.lora_{target}.adapter_{theirs}"
            for target in "qv"
            for ours, theirs in (("a", "down.weight.T"), ("b", "up.weight"))
        },
    ),
}


def turned(theirs: dict[str, Tensor], name: str) -> Tensor:
    return theirs[name.removesuffix(".T")].T if name.endswith(".T") else theirs[name]


@pytest.mark.parametrize("method", CASES)
def test_a_block_is_that_of_the_authors(method):
    case, theirs = CASES[method], of_authors(method)
    model = vit(embed_dim=8, num_heads=2, mlp_ratio=1.0, depth=1)
    weights = {key.removeprefix("block."): value for key, value in theirs.items() if key.startswith("block.")}
    model.blocks[0].load_state_dict(weights)
    aoft_bench.attach(model, method, **case.options)
    block = model.blocks[0]
    trained = {name: parameter for name, parameter in block.named_parameters() if parameter.requires_grad}
    assert trained.keys() == case.parameters.keys()
    for name, parameter in trained.items():
        parameter.data = turned(theirs, case.parameters[name]).clone()
    x = theirs["x"].requires_grad_()
    y = block(x)
    y.square().sum().backward()
    pairs = [("y", y, theirs["y"]), ("x", x.grad, theirs["grad_x"])]
    pairs += [(n, p.grad, turned(theirs, f"grad_{case.parameters[n]}")) for n, p in trained.items()]
    for name, got, expected in pairs:
        assert_close(got, expected, rtol=1e-11, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")
