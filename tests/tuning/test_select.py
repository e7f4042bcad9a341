"""Choosing on val200: which point of the grid wins, which records count, and that no test number is ever read."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from omegaconf import OmegaConf
from tuning_records import World, edit, record

from aoft_bench.records.identity import record_hash


@pytest.fixture
def world(tmp_path: Path, cli: Command) -> World:
    return World(tmp_path, cli)


# which point wins


def test_the_best_mean_over_seeds_wins(world: World) -> None:
    """(150 + 170) / 2 = 160 beats (190 + 120) / 2 = 155, though 190 is the largest of all."""
    world.add(record(1e-3, 150), record(1e-3, 170, seed=1), record(3e-3, 190), record(3e-3, 120, seed=1))
    assert world.chosen().recipe.lr == 1e-3
    text = world.file().read_text("utf-8")
    assert "> recipe.lr=0.001: 80.00 ± 7.07, n=2, 24,576 trained" in text  # 10 / sqrt(2)
    assert "  recipe.lr=0.003: 77.50 ± 24.75, n=2" in text  # 35 / sqrt(2)


def test_of_equal_scores_the_smaller_model_wins(world: World) -> None:
    options: dict[str, Any] = {"config__method__rank": 16, "parameters__trained": 49152}
    world.add(record(1e-3, 160, **options), record(3e-3, 160), record(1e-2, 159))
    chosen = world.chosen()
    assert (chosen.method.rank, chosen.recipe.lr) == (8, 3e-3)


def test_of_equal_sizes_the_first_grid_point_wins(world: World) -> None:
    """First by value, 9e-4 before 1e-3 before 1e-2, whatever finished first."""
    world.add(*(record(lr, 160, finished=f"2026-11-20T1{i}:00:00+00:00") for i, lr in enumerate([1e-2, 1e-3, 9e-4])))
    assert world.chosen().recipe.lr == 9e-4


def test_equal_means_are_equal_exactly(world: World) -> None:
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floats; in images both are 120."""
    for lr, counts in ((3e-3, (20, 40, 60)), (1e-3, (60, 40, 20))):
        world.add(*(record(lr, n, seed=seed) for seed, n in enumerate(counts)))
    assert world.chosen().recipe.lr == 1e-3


def test_a_point_that_lacks_a_seed_is_not_compared(world: World) -> None:
    """At 1e-2 the second seed failed or was not run: its 190 says less than two times 150."""
    world.add(record(1e-3, 150), record(1e-3, 150, seed=1), record(1e-2, 190))
    done = world.select()
    assert done.code == 0
    assert "not in the running: recipe.lr=0.01, with seed 0 only" in done.out
    assert OmegaConf.load(world.file()).recipe.lr == 1e-3
    assert "#   recipe.lr=0.01: 95.00, n=1, 24,576 trained, seed 0 only" in world.file().read_text("utf-8")


def test_no_complete_point_is_an_error(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160, seed=1))
    line = world.refused()
    assert "lora on digits: no setting has all of seeds 0, 1" in line
    assert "such as seed 1 of recipe.lr=0.001" in line


def test_the_edge_of_a_grid_is_named(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160))
    assert "tried" not in world.select().out  # of two values each is an edge
    world.add(record(1e-2, 170))
    assert "recipe.lr=0.01 is the highest tried" in world.select().out
    world.add(record(3e-2, 100))
    assert "tried" not in world.select().out


# what counts


def test_test_numbers_are_never_read(world: World) -> None:
    """Records of other protocols lie beside the tuning records. They would be named if more of them were read than the
    protocol's name, since nothing else in them is right."""
    world.add(record(1e-3, 160), record(3e-3, 150))
    world.chosen()
    alone = world.file().read_bytes()
    tempting = {"split": "test", "top1": 100.0, "correct": 797, "total": 797, "best_test_epoch_top1": 100.0}
    for name, metrics in (("clean", tempting), ("literature", tempting), ("clean", "a text"), ("literature", None)):
        for path in world.add(*(record(lr, 200, protocol__name=name) for lr in (1e-3, 3e-3, 1e-2))):
            edit(path, metrics=metrics, curves=metrics, hash="0123456789", config=None)
    done = world.select()
    assert done.code == 0 and not done.err
    assert world.file().read_bytes() == alone
    assert "2 tuning records; 6 records of other protocols left alone" in done.out


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"metrics": {"split": "val200", "top1": 100.0, "correct": 199, "total": 200}}, "but 199 of 200 are right"),
        ({"metrics": {"split": "test", "top1": 99.5, "correct": 199, "total": 200}}, "protocol tune scores val200"),
        ({"protocol": None}, "protocol.name is None"),
        ({"schema": 99}, "has schema 99"),
    ],
)
def test_a_damaged_record_is_named_and_left_out(world: World, changes: dict[str, Any], why: str) -> None:
    """By the checks of `records.schema`, which has tests of its own."""
    _, path = world.add(record(1e-3, 150), record(1e-2, 199))
    edit(path, **changes)
    done = world.select()
    assert done.code == 0, done.err
    assert f"left out: {path.relative_to(world.root)}" in done.err and why in done.err
    assert OmegaConf.load(world.file()).recipe.lr == 1e-3
    assert "0.01" not in world.file().read_text("utf-8")


def test_a_path_for_a_name_is_left_out(world: World) -> None:
    (path,) = world.add(record(1e-3, 150))
    made = record(1e-2, 199, method="../../../lora")
    path.with_name("mine.json").write_text(json.dumps(made | {"hash": record_hash(made)}))
    done = world.select()
    assert done.code == 0 and "mine.json: method is '../../../lora'" in done.err


def test_the_same_run_twice_counts_once(world: World) -> None:
    """Two hashes can stand for one run: here the same mean and deviation, by the names half and backbone."""
    same = [record(1e-3, 150, config__data__normalization=name) for name in ("half", "backbone")]
    paths = world.add(*same, record(3e-3, 160))
    done = world.select()
    first, twin = sorted(paths[:2])
    assert f"{twin.name} is of the same run as" in done.err and first.name in done.err
    assert "written from 2 tuning records" in done.out


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("backbone", "vit_b16_in21k", ("--backbone vit_b16_in21k (1 record)", "--backbone vit_nano (2 records)")),
        ("weights__sha256", "b" * 64, ("--weights aaaaaaaaaaaa (2", "--weights bbbbbbbbbbbb (1")),
        ("config__backbone__img_size", 64, ("--px 32 (2", "--px 64 (1")),
        ("config__data__interpolation", "bilinear", ("--interpolation bicubic (2", "--interpolation bilinear (1")),
        ("data__mean", [0.0, 0.0, 0.0], ("--normalization 0.5±0.5 (2", "--normalization 0±0.5 (1")),
        ("precision", "bf16", ("--precision bf16 (1", "--precision fp32 (2")),
        ("config__recipe__epochs", 100, ("--epochs 10 (2", "--epochs 100 (1")),
        ("data__fingerprint", "e" * 64, ("--data dddddddddddd (2", "--data eeeeeeeeeeee (1")),
    ],
)
def test_settings_that_cannot_be_compared_are_listed(
    world: World, path: str, value: Any, shown: tuple[str, str]
) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160), record(1e-2, 199, **{path: value}))
    line = world.refused()
    assert "lora on digits have tuning records of 2 settings" in line
    for text in shown:
        assert text in line
    one, two = (next(s for s in shown if f"({n}" in s).partition(" (")[0].split(" ") for n in (1, 2))
    assert world.chosen(*two).recipe.lr == 3e-3
    assert "holds the choice for another setting" in world.refused(*one)
    assert world.chosen(*one, "--force").recipe.lr == 1e-2


def test_tasks_may_have_settings_of_their_own(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160, dataset="svhn", config__recipe__epochs=100))
    assert world.chosen().recipe.epochs == 10
    assert OmegaConf.load(world.file(dataset="svhn")).recipe.epochs == 100
