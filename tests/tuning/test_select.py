"""Choosing on val200: who wins, what counts as evidence, and that no test number is ever looked at."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import Command
from omegaconf import OmegaConf
from tuning_records import World, record

from aoft_bench.records.files import read_record


@pytest.fixture
def world(tmp_path: Path, cli: Command) -> World:
    return World(tmp_path, cli)


# who wins


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


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_of_equal_sizes_the_earlier_grid_point_wins(world: World, order: tuple[int, ...]) -> None:
    """Earlier by value: 9e-4 before 1e-3 before 1e-2, whatever was written or finished first."""
    grid = [record(lr, 160, finished=f"2026-11-20T1{i}:00:00+00:00") for i, lr in enumerate([1e-2, 1e-3, 9e-4])]
    world.add(*(grid[i] for i in order))
    assert world.chosen().recipe.lr == 9e-4


def test_equal_means_are_equal_exactly(world: World) -> None:
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floats; in images both are 120."""
    for lr, counts in ((3e-3, (20, 40, 60)), (1e-3, (60, 40, 20))):
        world.add(*(record(lr, n, seed=seed) for seed, n in enumerate(counts)))
    assert world.chosen().recipe.lr == 1e-3


def test_a_point_that_lacks_a_seed_is_not_in_the_running(world: World) -> None:
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


class Guarded(dict[str, Any]):
    """A record of a test protocol, whose numbers may not be looked at."""

    touched: ClassVar[list[str]] = []

    def _check(self, key: object) -> None:
        if key in ("metrics", "curves"):
            self.touched.append(str(key))
            raise AssertionError(f"{key} of a record of protocol {dict.__getitem__(self, 'protocol')} was read")

    def __getitem__(self, key: str) -> Any:
        self._check(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._check(key)
        return super().get(key, default)

    def values(self) -> Any:
        return self._check("metrics")

    def items(self) -> Any:
        return self._check("metrics")


def _guard(monkeypatch: pytest.MonkeyPatch) -> None:
    real = json.loads

    def loads(text: str) -> Any:
        found = real(text)
        return Guarded(found) if found["protocol"]["name"] != "tune" else found

    Guarded.touched.clear()
    monkeypatch.setattr(json, "loads", loads)


def test_the_guard_of_the_next_test_works(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = world.add(record(1e-2, 200, protocol__name="clean"))
    _guard(monkeypatch)
    with pytest.raises(AssertionError, match="metrics of a record of protocol"):
        read_record(path)
    assert Guarded.touched == ["metrics"]


def test_test_numbers_are_never_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that beat all others on test lie beside them; the choice and its file are as if they did not."""
    world.add(record(1e-3, 160), record(3e-3, 150))
    world.chosen()
    alone = world.file().read_bytes()
    tempting = {"split": "test", "top1": 100.0, "correct": 797, "total": 797, "best_test_epoch_top1": 100.0}
    for name in ("clean", "literature"):
        world.add(*(record(lr, 200, protocol__name=name, metrics=tempting) for lr in (1e-3, 3e-3, 1e-2)))
    _guard(monkeypatch)
    done = world.select()
    assert done.code == 0, done.err
    assert not Guarded.touched
    assert world.file().read_bytes() == alone
    assert "2 tuning records; 6 records of other protocols left alone" in done.out


DAMAGED: dict[str, tuple[dict[str, Any], Callable[[str], str], str]] = {
    "truncated": ({}, lambda text: text[:200], "is not a whole record"),
    "NaN": ({"metrics__top1": math.nan}, str, "top-1 nan is not that of 199 of 200"),
    "edited": ({"metrics__top1": 100.0}, str, "top-1 100.0 is not that of 199 of 200"),
    "more than all": ({"metrics__correct": 300, "metrics__top1": 150.0}, str, "is not that of 300 of 200"),
    "scored on test": ({"metrics__split": "test"}, str, "was scored on 'test'"),
    "newer schema": ({"schema": 99}, str, "has schema 99"),
    "no rate": ({"config__recipe": None}, str, "config.recipe.epochs is None"),
    "a path for a name": ({"method": "../../../lora"}, str, "cannot be a file's name"),
    "no record": ({}, lambda _: "[1]", "has schema 'list'"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_is_named_and_left_out(world: World, name: str) -> None:
    changes, text, why = DAMAGED[name]
    world.add(record(1e-3, 150))
    (path,) = world.add(record(1e-2, 199, **changes), text=text)
    done = world.select()
    assert done.code == 0, done.err
    assert f"left out: {path.relative_to(world.root)}" in done.err and why in done.err
    assert OmegaConf.load(world.file()).recipe.lr == 1e-3
    assert "0.01" not in world.file().read_text("utf-8")


def test_the_same_run_twice_counts_once(world: World) -> None:
    first, _, twin = world.add(record(1e-3, 150), record(3e-3, 160), record(1e-3, 190))
    done = world.select()
    assert f"{twin.name} is of the same run as" in done.err and first.name in done.err
    assert OmegaConf.load(world.file()).recipe.lr == 3e-3


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
    two = next(text for text in shown if "(2" in text).partition(" (")[0].split(" ")
    one = next(text for text in shown if "(1" in text).partition(" (")[0].split(" ")
    assert world.chosen(*two).recipe.lr == 3e-3
    assert "holds the choice for another setting" in world.refused(*one)
    assert world.chosen(*one, "--force").recipe.lr == 1e-2


def test_tasks_may_have_settings_of_their_own(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160, dataset="svhn", config__recipe__epochs=100))
    assert world.chosen().recipe.epochs == 10
    assert OmegaConf.load(world.file(dataset="svhn")).recipe.epochs == 100
