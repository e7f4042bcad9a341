"""VQT: its formula, the wider head, and what it keeps for a backward pass."""

import pytest
import torch
from authors import of_authors
from contract import attached
from networks import TIGHT, batch, kept_for_backward, perturb, swin, vit
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

import aoft_bench
from aoft_bench.utils.errors import UserError


def test_vqt_is_the_authors() -> None:
    """andytu28/VQT@9bca87e src/models/vit_backbones/h2t_vit.py, three queries a block."""
    theirs = of_authors("vqt")
    model = vit(img_size=8, embed_dim=8, mlp_ratio=2.0, num_classes=3)
    net = {name.removeprefix("model."): value for name, value in theirs.items() if name.startswith("model.")}
    model.load_state_dict(net, strict=False)
    trained = dict(aoft_bench.attach(model, "vqt", queries=3).trained())
    ours = {f"blocks.{i}.queries.tokens": (theirs["queries"][i], theirs["grad_queries"][i]) for i in (0, 1)}
    ours |= {name: (theirs[name], theirs[f"grad_{name}"]) for name in ("head.weight", "head.bias")}
    assert trained.keys() == ours.keys()
    for name, (value, _) in ours.items():
        trained[name].data = value.clone()
    logits = model(theirs["x"])
    assert_close(logits, theirs["y"], **TIGHT)
    logits.square().sum().backward()
    for name, (_, gradient) in ours.items():
        assert_close(trained[name].grad, gradient, **TIGHT)


def test_the_queries_see_the_tokens_and_are_not_seen() -> None:
    images, plain, handle = batch(16)[0], vit(), attached(vit(), "vqt", queries=2)
    perturb(handle)
    p = dict(handle.trained())
    x = plain._pos_embed(plain.patch_embed(images))
    found: list[Tensor] = []
    for i, block in enumerate(plain.blocks):
        tokens = torch.cat([x, p[f"blocks.{i}.queries.tokens"].expand(len(x), -1, -1)], dim=1)
        hidden = torch.zeros(x.shape[1] + 2, x.shape[1] + 2, dtype=x.dtype)
        hidden[:, x.shape[1] :] = -torch.inf
        y = block(tokens, attn_mask=hidden)
        x = y[:, : x.shape[1]]
        found.append(normalize(y[:, x.shape[1] :].flatten(1)))
    read = torch.cat([normalize(plain.norm(x)[:, 0]), *found], dim=1)
    assert_close(handle.model(images), read @ p["head.weight"].T + p["head.bias"], **TIGHT)


def test_the_head_keeps_its_weights_and_starts_the_others_at_zero() -> None:
    fresh = vit()
    weight = fresh.head.weight.detach().clone()
    handle = attached(fresh, "vqt", queries=2)
    wide = dict(handle.trained())["head.weight"]
    assert wide.shape == (5, 32 * (1 + 2 * 2)) and torch.equal(wide[:, :32], weight) and not wide[:, 32:].any()
    assert handle.parameter_counts() == {
        "trained": 2 * 2 * 32,
        "head": 5 * 160 + 5,
        "trained_with_head": 2 * 2 * 32 + 805,
        "backbone": sum(value.numel() for value in vit().parameters()) - 165,
    }


def test_nothing_of_the_backbones_tokens_is_kept_but_keys_and_values() -> None:
    handle = attached(vit(depth=4), "vqt")
    perturb(handle)
    of_tokens = {shape for shape in kept_for_backward(handle) if 17 in shape}
    assert of_tokens == {(4, 2, 17, 16)}, "tokens of the backbone are kept: 4 images, 2 heads, 17 tokens, 16 a head"


def test_networks_without_a_class_token_are_refused() -> None:
    with pytest.raises(UserError, match=r"vqt needs a network whose head reads the class token, .* pools .* \(avg\)"):
        attached(vit(global_pool="avg"), "vqt")
    with pytest.raises(UserError, match="vqt cannot act inside a SwinTransformerBlock"):
        attached(swin(), "vqt")
