"""SynQT: its formula, and that no block keeps its tokens for a backward pass."""

import pytest
import torch
from authors import of_authors
from contract import attached
from networks import TIGHT, kept_for_backward, perturb, swin, vit
from torch.testing import assert_close

import aoft_bench
from aoft_bench.methods import synqt
from aoft_bench.utils.errors import UserError


def test_synqt_is_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    """taolinzhang/SynQT@15f3292 synqt.py, with bottlenecks of 6 and 3 and three queries a block."""
    monkeypatch.setattr(synqt, "WIDE", 6)
    monkeypatch.setattr(synqt, "NARROW", 3)
    theirs = of_authors("synqt")
    model = vit(img_size=8, embed_dim=8, mlp_ratio=2.0, num_classes=3)
    net = {name.removeprefix("model."): value for name, value in theirs.items() if name.startswith("model.")}
    model.load_state_dict(net, strict=False)
    trained = dict(aoft_bench.attach(model, "synqt", queries=3).trained())
    names = bytes(theirs["names"].tolist()).decode().split()
    cancelled = {f"blocks.{i}.make.k.up.bias" for i in (0, 1)}
    assert {*names} == trained.keys() | cancelled
    sizes = [8 if name in cancelled else trained[name].numel() for name in names]
    for name, value in zip(names, theirs["trained"].split(sizes), strict=True):
        if name not in cancelled:
            trained[name].data = value.view_as(trained[name]).clone()
    logits = model(theirs["x"])
    assert_close(logits, theirs["y"], **TIGHT)
    logits.square().sum().backward()
    for name, gradient in zip(names, theirs["grad"].split(sizes), strict=True):
        ours = torch.zeros(8) if name in cancelled else trained[name].grad.flatten()
        assert_close(ours.double(), gradient, **TIGHT, msg=lambda text, name=name: f"{name}: {text}")


def test_nothing_of_the_backbones_tokens_is_kept_but_keys_and_values() -> None:
    handle = attached(vit(depth=4), "synqt")
    perturb(handle)
    of_tokens = {shape for shape in kept_for_backward(handle) if 17 in shape}
    assert of_tokens == {(4, 2, 17, 16)}, "4 images, 2 heads, 17 tokens, 16 a head"


def test_other_networks_are_refused() -> None:
    with pytest.raises(UserError, match="synqt needs a network whose head reads the class token"):
        attached(vit(global_pool="avg"), "synqt")
    with pytest.raises(UserError, match="synqt cannot act inside a SwinTransformerBlock"):
        attached(swin(), "synqt")
