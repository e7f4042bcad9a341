"""The learning rate of a step, parameter groups, drop path and dropout."""

import itertools

import pytest
import torch
from networks import batch, timm, vit
from torch import nn

import aoft_bench
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
        share = {"sample": 0.6, "element": 1 - round(0.4 * 2**16) / 2**16}[kind]  # 16 bits decide about an element
        assert branch(torch.ones(400, 50)).unique().tolist() == pytest.approx([0, 1 / share])
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


def test_rates_by_epochs_are_timms_one_epoch_late():
    """As the authors of AOFT call it: 100 epochs, 10 of warm-up, 10 of cool-down, step(epoch) after each."""
    from timm.scheduler.cosine_lr import CosineLRScheduler

    r = recipe(epochs=110, warmup_epochs=10, cooldown_epochs=10, schedule="epoch")
    parameter = nn.Parameter(torch.zeros(1))
    options = dict(t_initial=100, lr_min=r.min_lr, warmup_t=10, warmup_lr_init=r.warmup_lr)
    optimizer = torch.optim.AdamW([parameter], lr=r.lr)
    timms = CosineLRScheduler(optimizer, **options)
    total = 0.0
    for epoch in range(110):
        rates = {learning_rate(r, step, 330) for step in range(3 * epoch, 3 * epoch + 3)}
        assert list(rates) == [pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12, abs=1e-20)], epoch
        total += optimizer.param_groups[0]["lr"]
        timms.step(epoch)
    assert [learning_rate(r, 3 * epoch, 330) for epoch in (0, 1, 101, 109)] == [1e-7, 1e-7, 1e-8, 1e-8]
    ours = sum(learning_rate(recipe(epochs=100), step, 300) for step in range(300)) / 3
    assert total / ours == pytest.approx(0.90, abs=0.005)


def test_the_cool_down_stays_at_the_lowest_rate():
    r, plain = recipe(epochs=25, warmup_epochs=2, cooldown_epochs=5), recipe(epochs=20, warmup_epochs=2)
    rates = [learning_rate(r, step, 250) for step in range(250)]
    assert rates[:200] == [learning_rate(plain, step, 200) for step in range(200)]
    assert rates[200:] == [pytest.approx(1e-8, rel=1e-9)] * 50


def test_the_bias_of_the_head_alone_can_be_left_undecayed():
    handle = aoft_bench.attach(vit(), "bitfit")
    (only,) = handle.groups()
    assert only == (1.0, 1.0)
    groups = handle.groups(decay_head_bias=False)
    (bias,) = groups[1.0, 0.0]
    assert bias is handle.model.head.bias and set(groups) == {(1.0, 1.0), (1.0, 0.0)}
