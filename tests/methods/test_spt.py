"""SPT: what is chosen, how each form acts, and a whole cell of a method whose size follows from images."""

import json
from pathlib import Path

import pytest
import torch
from authors import of_authors
from conftest import call, words
from contract import attached
from networks import TIGHT, batch, vit
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

import aoft_bench
from aoft_bench import methods
from aoft_bench.methods.spt import SPT, Part, allocate
from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError

FORMS = pytest.mark.parametrize("form", ["lora", "adapter"])


@FORMS
@pytest.mark.parametrize("budget", [200, 400])
def test_what_is_chosen_of_sensitivities_is_the_authors(form: str, budget: int) -> None:
    """ziplab/SPT@e385f67 engine.py (`get_sensitivity`): 12 blocks of width 4, rank 1, in steps of 20 parameters."""
    theirs = of_authors("spt_choice")
    alpha, parts = {"lora": 2.0, "adapter": 3.0}[form], []
    for rows, columns in theirs["shapes"].tolist():
        size, cost = max(1, columns) * rows, rows + columns if form == "lora" else 3 * rows + 1
        parts.append(Part("", 0, size, cost, cost / alpha) if columns else Part("", 0, rows, rows, rows / 5))
    chosen = allocate(theirs["sensitivity"], parts, fixed=4, budget=budget, step=20)
    assert [one is None for one in chosen] == theirs[f"whole.{form}.{budget}"].tolist()
    for part, one, marked in zip(
        parts, chosen, theirs[f"marked.{form}.{budget}"].split([part.size for part in parts]), strict=True
    ):
        assert one is None or torch.equal(one, marked.nonzero().flatten()), part


@FORMS
def test_blocks_are_those_of_the_authors(form: str) -> None:
    """ziplab/SPT@e385f67 model/vision_transformer_timm.py, `BlockSPTParallel` and `BlockSPTSeq`, and the last norm."""
    theirs = of_authors(f"spt_{form}")

    def below(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in theirs.items() if name.startswith(prefix)}

    model = vit(img_size=8, embed_dim=8, mlp_ratio=2.0, num_classes=3)
    assert not model.load_state_dict(below("model."), strict=False).unexpected_keys
    handle = aoft_bench.attach(model, "spt", form=form, rank=2, prepared=below("prepared."))
    values, gradients = below("trained."), below("grad_")
    trained = {name: value for name, value in handle.trained() if name.partition(".")[0] not in ("head", "cls_token")}
    assert trained.keys() == values.keys()
    for name, parameter in trained.items():
        parameter.data = values[name].clone()
    x = theirs["x"].requires_grad_()
    y = model.norm(model.blocks(x))
    y.square().sum().backward()
    assert_close(y, theirs["y"], **TIGHT)
    assert_close(x.grad, gradients["x"], **TIGHT)
    for name, parameter in trained.items():
        assert_close(parameter.grad, gradients[name], **TIGHT, msg=lambda text, name=name: f"{name}: {text}")


def test_the_weights_with_the_largest_gradients_are_chosen() -> None:
    """Without modules and whole vectors (alpha, beta near zero): 9 steps of 53, and the class token of 32."""
    images, labels = batch(16, count=40)
    method = SPT(budget=530, alpha=1e-9, beta=1e-9)
    found = methods.prepare(vit(), method, [(images, labels)])
    model = vit()
    head = torch.nn.init.trunc_normal_(torch.empty(5, 32), std=0.02, generator=torch.Generator().manual_seed(0))
    sums: dict[str, Tensor] = {}
    for part in (slice(32), slice(32, 40)):
        model.zero_grad()
        logits = model.forward_head(model.forward_features(images[part]), pre_logits=True) @ head.double().T
        cross_entropy(logits, labels[part]).backward()
        for name, parameter in model.named_parameters():
            if "norm" in name or (name.startswith("blocks") and name.endswith(("weight", "bias"))):
                sums[name] = sums.get(name, torch.zeros(())) + parameter.grad.square()
    least = torch.cat([value.flatten() for value in sums.values()]).topk(9 * 53).values[-1]
    for name, value in sums.items():
        path, _, kind = name.rpartition(".")
        marked = (value.flatten() >= least).nonzero().flatten()
        if "norm" in name:
            assert not found[f"{path}.tuned"].any()
        else:
            assert torch.equal(found[f"{path}.{'places' if kind == 'weight' else 'bias_places'}"], marked), name


def test_what_does_not_fit_is_refused() -> None:
    found = methods.prepare(vit(embed_dim=64), SPT(budget=2_000, rank=2), [batch(16)])
    for wrong, problem in {
        "is of another network: ": found,
        r"norm1\.tuned is of shape \(3,\), this network needs \(2,\)": {"blocks.0.norm1.tuned": torch.zeros(3) > 0},
    }.items():
        with pytest.raises(UserError, match=wrong):
            attached(vit(), "spt", budget=2_000, rank=2, prepared=problem)
    images, labels = batch(16)
    with pytest.raises(UserError, match="spt cannot choose: gradients of training images are not finite"):
        methods.prepare(vit(), SPT(), [(images * torch.nan, labels)])


def test_adapters_are_not_merged() -> None:
    handle = attached(vit(), "spt", budget=2_000, rank=2, form="adapter", prepared={})
    with pytest.raises(UserError, match="^SPT cannot be merged: .* not linear; train method=spt, whose form=lora can"):
        handle.merge()


@pytest.mark.slow
def test_a_cell_of_a_size_that_images_choose(nano_pack: dict[str, str], tmp_path: Path) -> None:
    options = nano_pack | {"method": "spt", "method.budget": "8000", "method.rank": "2", "recipe.epochs": "1"}
    done = call(*words(options), cwd=tmp_path)
    assert done.code == 0, done.err
    (path,) = (tmp_path / "results/records").rglob("*.json")
    record = read_record(path)
    assert record["merged"] and 7_000 < record["parameters"]["trained"] < 9_000
    again = call("evaluate", str(path), cwd=tmp_path)
    assert again.code == 0 and again.out.endswith("equal\n"), again.err
    planned = call("dry_run=true", *words(options), cwd=tmp_path)
    assert "is chosen by the images; these sizes are of a choice of the same budget" in planned.out
    assert json.loads(path.read_text())["parameters"] == record["parameters"]
