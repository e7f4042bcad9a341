"""The learning rate of a step, parameter groups, drop path and dropout."""

import itertools

import pytest
import torch
from networks import batch, timm, vit
from torch import nn

from aoft_bench.config.schema import RecipeOptions
from aoft_bench.training.model import regularize
from aoft_bench.training.optim import adamw, learning_rate, schedule


def recipe(**changes) -> RecipeOptions:
    values = dict(epochs=20, batch_size=4, lr=1e-3, weight_decay=0.0, warmup_epochs=None, warmup_lr=1e-7, min_lr=1e-8)
    values |= dict(drop_path=0.4, drop_path_kind="sample", mlp_dropout=0.0, label_smoothing=0.0, flip=False)
    return RecipeOptions(**{**values, **changes})


def test_learning_rate_warms_up_linearly_then_falls_along_half_a_cosine():
    r, steps = recipe(), 200  # 10 steps an epoch, two epochs of warm-up
    assert learning_rate(r, 0, steps) == 1e-7
    assert learning_rate(r, 10, steps) == pytest.approx((1e-7 + 1e-3) / 2, rel=1e-12)
    assert learning_rate(r, 20, steps) == pytest.approx(1e-3, rel=1e-12)
    assert learning_rate(r, 110, steps) == pytest.approx((1e-3 + 1e-8) / 2, rel=1e-9)
    assert learning_rate(r, 65, steps) == pytest.approx(1e-8 + (1e-3 - 1e-8) * (2 + 2**0.5) / 4, rel=1e-9)
    assert learning_rate(r, 200, steps) == pytest.approx(1e-8, rel=1e-9)
    assert learning_rate(r, 10_000, steps) == pytest.approx(1e-8, rel=1e-9)


def test_learning_rate_rises_then_falls_and_never_leaves_its_bounds():
    r, steps = recipe(), 200
    values = [learning_rate(r, step, steps) for step in range(steps)]
    rising = [b > a for a, b in itertools.pairwise(values)]
    assert rising == [True] * 20 + [False] * 179
    assert max(values) == pytest.approx(1e-3, rel=1e-12) and min(values) > 1e-8


@pytest.mark.parametrize(
    "changes, warmup", [({}, 2), ({"warmup_epochs": 5}, 5), ({"warmup_epochs": 0}, 0), ({"epochs": 9}, 0)]
)
def test_warm_up_is_a_tenth_of_the_epochs_by_default(changes, warmup):
    r = recipe(**changes)
    steps = 10 * r.epochs
    assert r.warmup == warmup
    assert learning_rate(r, 10 * warmup, steps) == r.lr
    assert learning_rate(r, 0, steps) == (1e-7 if warmup else r.lr)


def test_one_step_alone_runs_at_the_full_rate():
    assert learning_rate(recipe(epochs=1), 0, 1) == 1e-3


def regularized(seed: int = 0, **changes) -> nn.Module:
    r = recipe(**changes)
    model = vit(depth=3, drop_path_rate=r.drop_path)
    regularize(model, r)
    torch.manual_seed(seed)
    return model.train()


def drops(model: nn.Module) -> list[list[tuple[str, float]]]:
    """(class, rate) of both residual branches of each block."""
    found = [[block.drop_path1, block.drop_path2] for block in model.blocks]
    return [
        [(type(d).__name__, round(float(getattr(d, "drop_prob", getattr(d, "p", 0))), 6)) for d in b] for b in found
    ]


@pytest.mark.parametrize("kind, cls", [("sample", "DropPath"), ("element", "Dropout")])
def test_drop_path_rises_linearly_over_the_blocks(kind, cls):
    assert drops(regularized(drop_path_kind=kind)) == [[("Identity", 0.0)] * 2, [(cls, 0.2)] * 2, [(cls, 0.4)] * 2]


@pytest.mark.parametrize("kind", ["sample", "element"])
def test_without_drop_path_nothing_is_dropped(kind):
    model = regularized(drop_path=0.0, drop_path_kind=kind)
    assert drops(model) == [[("Identity", 0.0)] * 2] * 3
    images = batch(16)[0]
    assert torch.equal(model(images), vit(depth=3)(images))


def test_sample_drops_whole_branches_and_element_single_values():
    kept = {}
    for kind in ("sample", "element"):
        branch = regularized(drop_path_kind=kind).blocks[2].drop_path1
        kept[kind] = branch(torch.ones(400, 50)).ne(0)
        assert branch(torch.ones(400, 50)).unique().tolist() == pytest.approx([0, 1 / 0.6])
        assert kept[kind].float().mean().item() == pytest.approx(0.6, abs=0.1)
    whole = {kind: (mask.all(1) | ~mask.any(1)) for kind, mask in kept.items()}
    assert whole["sample"].all() and not whole["element"].any()


def test_mlp_dropout_acts_in_both_places_of_every_block():
    model = regularized(drop_path=0.0, mlp_dropout=0.1)
    assert [(b.mlp.drop1.p, b.mlp.drop2.p) for b in model.blocks] == [(0.1, 0.1)] * 3
    swin = timm.models.swin_transformer.SwinTransformer(
        img_size=32, patch_size=4, window_size=4, embed_dim=16, depths=(1, 1), num_heads=(1, 2), num_classes=5
    )
    regularize(swin, recipe(mlp_dropout=0.3))
    assert [layer.blocks[0].mlp.drop2.p for layer in swin.layers] == [0.3, 0.3]


@pytest.mark.parametrize("kind", ["sample", "element"])
def test_dropping_is_decided_by_the_seed_and_absent_in_evaluation(kind):
    images = batch(16)[0]
    one, two, other = (regularized(s, drop_path_kind=kind, mlp_dropout=0.1)(images) for s in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)
    model = regularized(drop_path_kind=kind, mlp_dropout=0.1).eval()
    assert torch.equal(model(images), vit(depth=3)(images))


def test_groups_are_multiples_of_the_recipe_and_follow_one_schedule():
    r = recipe(weight_decay=1e-2)
    model = nn.Linear(2, 2)
    groups = {(1.0, 1.0): [model.weight], (10.0, 0.5): [model.bias]}
    optimizer = adamw(groups, r)
    scheduler = schedule(optimizer, r, steps=200)
    one, other = optimizer.param_groups
    assert one["params"] == [model.weight] and other["params"] == [model.bias]
    assert (one["weight_decay"], other["weight_decay"]) == (1e-2, 5e-3)
    for step in range(30):
        assert one["lr"] == pytest.approx(learning_rate(r, step, 200), rel=1e-12)
        assert other["lr"] == pytest.approx(10 * learning_rate(r, step, 200), rel=1e-12)
        optimizer.step()
        scheduler.step()
