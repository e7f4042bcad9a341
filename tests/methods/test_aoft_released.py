"""experiment=aoft_released against the authors' formulae, written out densely here, in float64."""

import dataclasses
import math

import pytest
import torch
from networks import TIGHT, batch, shape_of, vit
from test_aoft import dense_q
from test_config import config_of
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench.backbones.layout import matrices
from aoft_bench.backbones.tiny import tiny
from aoft_bench.methods.aoft import ao_matrix
from aoft_bench.training.model import regularize
from aoft_bench.training.optim import adamw, schedule
from aoft_bench.utils.errors import UserError

STEPS, A_EPOCH = 30, 2


def test_without_the_bias_of_adapted_matrices_that_of_k_and_proj_stays() -> None:
    given, model = vit(), vit()
    aoft_bench.attach(model, "aoft", keep_bias=False)
    for block, before in zip(model.blocks, given.blocks, strict=True):
        q, k, v = block.attn.qkv.base.bias.chunk(3)
        assert not q.any() and not v.any() and not block.mlp.fc1.base.bias.any() and not block.mlp.fc2.base.bias.any()
        assert torch.equal(k, before.attn.qkv.bias.chunk(3)[1]) and k.any()
        assert torch.equal(block.attn.proj.bias, before.attn.proj.bias) and block.attn.proj.bias.any()


def test_biases_that_the_attention_keeps_apart_are_not_left_in_silence() -> None:
    with pytest.raises(UserError, match=r"keep_bias=false cannot drop the biases of q and v of a Beit"):
        aoft_bench.attach(tiny("BEiT v2"), "aoft", keep_bias=False)
    aoft_bench.attach(tiny("BEiT v2"), "aoft", keep_bias=False, targets=["fc1", "fc2"])
    aoft_bench.attach(tiny("BEiT v2"), "aoft")


def test_dropped_biases_are_said_and_cost_no_parameter() -> None:
    kept, dropped = (aoft_bench.attach(vit(), "aoft", init="zero", keep_bias=keep) for keep in (True, False))
    assert kept.method.starts_at_backbone and not dropped.method.starts_at_backbone
    assert kept.parameter_counts() == dropped.parameter_counts()
    assert dropped.trainable_parameters(head=False) == dropped.method.count(shape_of(vit()))
    merged = dropped.merge()
    assert not merged.blocks[0].mlp.fc1.bias.any()


@pytest.mark.parametrize("constant", ["paper", "released"])
def test_the_gradient_of_q0_comes_from_the_constant_alone(constant: str) -> None:
    q = torch.linspace(0.1, 0.7, 7, dtype=torch.float64).requires_grad_()
    weights = torch.arange(21, dtype=torch.float64).view(7, 3).cos()
    cut, whole = ao_matrix(q, 3, constant, detach_q0=True), ao_matrix(q, 3, constant)
    assert torch.equal(cut, whole)
    ((of_cut,), (of_whole,)) = (torch.autograd.grad((m * weights).sum(), q) for m in (cut, whole))
    difference = of_whole - of_cut
    assert_close(difference[0], weights[0, 0], **TIGHT)  # entry (0, 0) is q_0 itself
    assert not difference[1:].any()


def dense_weights(model: nn.Module, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights and biases of the authors' layers: W^T + AO(q_down) diag(lambda) AO(q_up)^T, no bias, where adapted."""
    state = {name: tensor.clone() for name, tensor in model.named_parameters()}
    for block in range(len(model.blocks)):
        for path, target, rows in (
            ("attn.qkv", "q", slice(0, 32)),
            ("attn.qkv", "v", slice(64, 96)),
            ("mlp.fc1", "fc1", slice(None)),
            ("mlp.fc2", "fc2", slice(None)),
        ):
            mine = [vectors[f"blocks.{block}.{path}.updates.{target}.{name}"] for name in ("q_down", "lambda_", "q_up")]
            down, up = (cut_at_00(q, len(mine[1])) for q in (mine[0], mine[2]))
            name = f"blocks.{block}.{path}"
            weight, bias = state[f"{name}.weight"].clone(), state[f"{name}.bias"].clone()
            weight[rows] = weight[rows] + (down @ torch.diag(mine[1]) @ up.T).T
            bias[rows] = 0
            state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return state | {name: tensor for name, tensor in vectors.items() if name.startswith("head.")}


def cut_at_00(q: Tensor, d: int) -> Tensor:
    """The first d columns of the authors' Q(q), whose entry (0, 0) is a new tensor there."""
    dense = dense_q(q, "released")[:, :d]
    here = torch.zeros_like(dense)
    here[0, 0] = 1
    return torch.where(here.bool(), q[0].detach(), dense)


def rate_of(epoch: int, lr: float, epochs: int, warmup: int) -> float:
    """timm's cosine of `epochs`, asked for the epoch before this one."""
    t = max(0, epoch - 1)
    if t < warmup:
        return 1e-7 + t * (lr - 1e-7) / warmup
    return 1e-8 + (lr - 1e-8) / 2 * (1 + math.cos(math.pi * t / epochs)) if t < epochs else 1e-8


def test_thirty_steps_are_those_of_the_authors_formulae() -> None:
    config = config_of("experiment=aoft_released", "dataset=dtd")
    changes = {"epochs": STEPS // A_EPOCH, "warmup_epochs": 3, "cooldown_epochs": 2, "lr": 1e-2, "weight_decay": 5e-2}
    recipe = dataclasses.replace(config.recipe, **changes)
    assert recipe.mlp_dropout and recipe.drop_path and recipe.drop_path_kind == "element"

    def network() -> nn.Module:
        model = vit(drop_path_rate=recipe.drop_path)
        regularize(model, recipe)
        return model.train()

    torch.manual_seed(5)
    handle = aoft_bench.attach(network(), config.method.options)
    trained = dict(handle.trained())
    start = {name: tensor.detach().clone() for name, tensor in trained.items()}
    assert {name.rpartition(".")[2] for name in trained} == {"q_down", "q_up", "lambda_", "weight", "bias"}
    optimizer = adamw(handle.groups(recipe.decay_head_bias), recipe)
    scheduler = schedule(optimizer, recipe, STEPS)

    plain = network().requires_grad_(False)
    theirs = {name: tensor.detach().clone().requires_grad_() for name, tensor in trained.items()}
    moments = {name: (torch.zeros_like(tensor), torch.zeros_like(tensor)) for name, tensor in theirs.items()}

    images, labels = batch(16)
    for step in range(STEPS):
        torch.manual_seed(step)  # the same dropout for both
        loss = handle.loss(images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()

        torch.manual_seed(step)
        logits = torch.func.functional_call(plain, dense_weights(plain, theirs), (images,))
        their_loss = nn.functional.cross_entropy(logits, labels)
        assert_close(loss, their_loss, **TIGHT)
        rate = rate_of(step // A_EPOCH, 1e-2, recipe.epochs - 2, 3)
        with torch.no_grad():
            gradients = torch.autograd.grad(their_loss, list(theirs.values()))
            for (name, tensor), gradient in zip(theirs.items(), gradients, strict=True):
                first, second = moments[name]
                first.mul_(0.9).add_(gradient, alpha=0.1)
                second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                tensor.mul_(1 if name == "head.bias" else 1 - rate * 5e-2)
                unbiased = second / (1 - 0.999 ** (step + 1))
                tensor -= rate * first / (1 - 0.9 ** (step + 1)) / (unbiased.sqrt() + 1e-8)
    for name, tensor in trained.items():
        assert_close(tensor.detach(), theirs[name].detach(), **TIGHT)
        assert (tensor - start[name]).abs().max() > 1e-3, name


def test_the_experiment_is_what_the_authors_code_says() -> None:
    config = config_of("experiment=aoft_released", "dataset=cifar100")
    recipe = config.recipe
    assert (recipe.epochs, recipe.warmup, recipe.cooldown_epochs, recipe.schedule) == (110, 10, 10, "epoch")
    assert (config.seed, config.protocol.name, config.backbone.pos_embed_resize) == (42, "literature", "zoom")
    assert [matrix.target for matrix in matrices(vit(), config.method.options.targets)][:4] == ["q", "v", "fc1", "fc2"]
    plain = config_of("method=aoft", "dataset=cifar100")
    assert "keep_bias" not in plain.as_dict()["method"] and "schedule" not in plain.as_dict()["recipe"]
