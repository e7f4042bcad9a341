"""GPS: what is chosen, how the chosen weights act, and a whole cell of a method that looks at training images."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from authors import of_authors
from conftest import call, words
from contract import attached
from networks import TIGHT, batch, perturb, vit
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from aoft_bench import methods
from aoft_bench.methods.gps import GPS, contrast, layers_of
from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError


def test_the_loss_that_chooses_is_the_authors() -> None:
    """FightingFighting/GPS@72e0c31 utils/loss_utils.py, both views of an image the same."""
    theirs = of_authors("gps")
    features = theirs["features"].requires_grad_()
    loss = contrast(features, theirs["labels"])
    loss.backward()
    assert_close(loss, theirs["loss"], **TIGHT)
    assert features.grad is not None
    assert_close(features.grad, theirs["grad_features"], **TIGHT)


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_chosen_of_a_gradient_is_the_authors(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """FightingFighting/GPS@72e0c31 utils/pruning.py: zero where a weight is trained. Norms stay, biases are trained."""
    theirs = of_authors("gps")
    names = {"fc": "blocks.0.mlp.fc1", "patch_embed": "patch_embed.proj"}
    model = vit()
    for name, path in names.items():
        layer = model.get_submodule(path)
        gradient = theirs[f"gradient.{name}.weight"]
        layer.weight = torch.nn.Parameter(torch.zeros_like(gradient))
        layer.weight.register_hook(lambda _, gradient=gradient: gradient)
    pulled: list[Tensor] = [model.get_submodule(path).weight for path in names.values()]
    others = [layer.weight for path, layer in layers_of(model) if path not in names.values()]
    monkeypatch.setattr("aoft_bench.methods.gps.features", lambda *_: sum(weight.sum() for weight in pulled + others))
    monkeypatch.setattr("aoft_bench.methods.gps.contrast", lambda found, _: found)
    found = GPS(per_neuron=count).prepare(model, [batch(16)])
    for name, path in names.items():
        frozen = theirs[f"frozen{count}.{name}.weight"].flatten(1)
        assert torch.equal(torch.ones_like(frozen).scatter(1, found[f"{path}.chosen"], 0), frozen)
        assert not theirs[f"frozen{count}.{name}.bias"].any() and theirs[f"frozen{count}.norm.bias"].all()


def test_it_is_the_network_with_other_weights_at_the_chosen_places() -> None:
    handle = attached(vit(), "gps", per_neuron=3)
    perturb(handle)
    state = {
        name: value for name, value in handle.model.state_dict().items() if not name.endswith(("values", "chosen"))
    }
    plain = vit()
    plain.load_state_dict({name.replace(".base.", "."): value for name, value in state.items()})
    trained = dict(handle.trained())
    for path, layer in layers_of(plain):
        values, chosen = trained[f"{path}.values"], handle.model.get_submodule(path).chosen
        for neuron in range(len(values)):
            for value, place in zip(values[neuron], chosen[neuron], strict=True):
                layer.weight.data[neuron].view(-1)[place] += value
    images, labels = batch(16)
    assert_close(handle.model(images), plain(images), **TIGHT)
    handle.loss(images, labels).backward()
    torch.nn.functional.cross_entropy(plain(images), labels).backward()
    for path, layer in layers_of(plain):
        chosen = handle.model.get_submodule(path).chosen
        assert_close(trained[f"{path}.values"].grad, layer.weight.grad.flatten(1).gather(1, chosen), **TIGHT)


def test_an_empty_class_changes_nothing_and_a_broken_backbone_is_refused() -> None:
    """The loss compares the classes that there are. A class of one image is compared with that image alone."""
    images = batch(16)[0]
    chosen = [
        methods.prepare(vit(), GPS(), [(images, torch.tensor(labels))]) for labels in ([0, 0, 2, 4], [0, 0, 1, 2])
    ]
    assert all(torch.equal(value, chosen[1][name]) for name, value in chosen[0].items())
    with pytest.raises(UserError, match=r"gps cannot choose: the gradient of patch_embed\.proj is not fin"):
        methods.prepare(vit(), GPS(), [(images * torch.nan, torch.tensor([0, 0, 1, 2]))])
    with pytest.raises(UserError, match=r"method\.per_neuron is too large: got 33, but .* 1 to 32"):
        attached(vit(), "gps", per_neuron=33)


def test_a_cell_records_what_it_chose_and_evaluates_to_the_same(
    nano_pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    prepare = GPS.prepare

    def counted(self: GPS, model: Any, batches: Any) -> Any:
        seen.append(sum(len(labels) for _, labels in batches))
        return prepare(self, model, batches)

    monkeypatch.setattr(GPS, "prepare", counted)
    done = call(*words(nano_pack | {"method": "gps", "recipe.epochs": "1"}), cwd=tmp_path)
    assert done.code == 0, done.err
    assert seen == [32], "the images of train800val200, once"
    (path,) = (tmp_path / "results/records").rglob("*.json")
    record = read_record(path)
    assert record["merged"] and len(record["prepared"]) == 64
    assert load_file(path.with_suffix(".safetensors"))["blocks.0.attn.qkv.chosen"].shape == (384, 1)
    again = call("evaluate", str(path), cwd=tmp_path)
    assert again.code == 0 and again.out.endswith("equal\n") and seen == [32], "the saved choice is taken"
    saved, state = path.with_suffix(".safetensors"), load_file(path.with_suffix(".safetensors"))
    save_file(state | {"blocks.0.attn.qkv.chosen": torch.full((384, 1), 128)}, saved)
    path.write_text(json.dumps(record | {"trained_sha256": hashlib.sha256(saved.read_bytes()).hexdigest()}))
    again = call("evaluate", str(path), cwd=tmp_path)
    problem = "what was prepared is of another network: blocks.0.attn.qkv.chosen is 128, this network has 0 to 127"
    assert again.code == 2 and problem in again.err and again.err.count("\n") == 1
    save_file(state, saved)
    path.write_text(json.dumps(record | {"prepared": "0" * 64}))
    again = call("evaluate", str(path), cwd=tmp_path)
    assert again.code == 2 and "what the method chose from training images is not what the record says" in again.err
