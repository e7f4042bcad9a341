"""PACE against the authors' code: its loss, gradients and outputs, with the noise that was drawn there."""

from typing import Any

import pytest
import torch
from authors import of_authors
from contract import attached
from networks import TIGHT, batch, perturb, vit
from torch.testing import assert_close

import aoft_bench
from aoft_bench.backbones.layout import layers

NAMES = {"down": "delta_W_down", "up": "delta_W_up", "bias": "delta_b", "prompt": "delta_prompt_down"}
NAMES |= {"mix": "delta_prompt_up"}


def test_pace_is_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    """MaxwellYaoNi/PACE@9fee345 Vision/pace: sigma 0.7, lbd 0.5, stochastic depth 0.3, two blocks of width 8."""
    theirs = of_authors("pace")

    def drawn(kind: str) -> Any:
        found = iter([theirs[name] for name in sorted(theirs) if name.startswith(f"{kind}.")])
        return lambda size, *_: next(found)[: size if isinstance(size, int) else None]

    monkeypatch.setattr("aoft_bench.methods.pace.noise_of", drawn("noise"))
    monkeypatch.setattr("aoft_bench.methods.pace.kept", drawn("drop"))
    model = vit(img_size=8, embed_dim=8, mlp_ratio=1.0, num_classes=3, drop_path_rate=0.3)
    model.load_state_dict({name[4:]: value for name, value in theirs.items() if name.startswith("net.")})
    handle = aoft_bench.attach(model, "pace", rank=2, sigma=0.7, strength=0.5)
    trained = {name: parameter for name, parameter in handle.trained() if not name.startswith("head")}
    ours = {name: f"{path}.{NAMES[kind]}" for name in trained for path, _, kind in [name.rpartition(".")]}
    assert {f"p.{name}" for name in ours.values()} == {name for name in theirs if name.startswith("p.")}
    for name, parameter in trained.items():
        parameter.data = theirs[f"p.{ours[name]}"]
    assert_close(model(theirs["x"]), theirs["eval"], **TIGHT)
    model.train()
    loss = handle.loss(theirs["x"], theirs["labels"])
    assert_close(loss, theirs["loss"], **TIGHT)
    loss.backward()
    for name, parameter in trained.items():
        assert parameter.grad is not None
        assert_close(parameter.grad, theirs[f"grad_{ours[name]}"], **TIGHT)


def test_without_noise_it_is_the_network_with_other_weights() -> None:
    handle = attached(vit(), "pace", rank=3, sigma=0.0, strength=0.0)
    perturb(handle)
    plain, trained = vit(), dict(handle.trained())
    for path, layer in layers(plain):
        if f"{path}.down" in trained:
            p = {kind: trained[f"{path}.{kind}"] for kind in NAMES}
            layer.bias.data = layer.bias * (1 + p["bias"]) + (layer.weight @ p["prompt"] @ p["mix"])[:, 0]
            layer.weight.data = layer.weight * (1 + p["down"] @ p["up"])
    plain.head.load_state_dict(handle.model.head.state_dict())
    assert_close(handle.model(batch(16)[0]), plain(batch(16)[0]), **TIGHT)


def test_two_passes_differ_in_training_only() -> None:
    handle = attached(vit(), "pace")
    perturb(handle)
    images, labels = batch(16)
    plain = torch.nn.functional.cross_entropy(handle.model(images), labels)
    assert_close(handle.loss(images, labels), plain, **TIGHT)
    handle.model.train()
    one, two = (handle.loss(images, labels) for _ in range(2))
    assert one > plain and one != two
