"""Warm-up of a recipe whose epochs are changed, and the files that refused values are from."""

from pathlib import Path
from typing import Any

import pytest

from aoft_bench import methods
from aoft_bench.config.compose import Composer
from aoft_bench.config.schema import from_dict
from aoft_bench.utils.errors import UserError

CONVPASS = ["method=convpass", "dataset=cifar100"]  # conf/hparams/convpass/cifar100.yaml: 10 of 100 epochs


def recipe(*words: str) -> tuple[int, int | None, int]:
    made = Composer().compose("config", words)["recipe"]
    return made["epochs"], made["warmup_epochs"], made["cooldown_epochs"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (CONVPASS, (100, 10, 0)),
        ([*CONVPASS, "recipe.epochs=1"], (1, 0, 0)),
        ([*CONVPASS, "recipe.epochs=25"], (25, 2, 0)),
        ([*CONVPASS, "recipe.epochs=25", "recipe.warmup_epochs=5"], (25, 5, 0)),
        ([*CONVPASS, "recipe={epochs: 25, warmup_epochs: 5}"], (25, 5, 0)),
        (["experiment=aoft_released"], (110, 10, 10)),  # the experiment's own, after 10 of 100 in the task's file
        (["experiment=aoft_released", "recipe.epochs=11"], (11, 1, 1)),
        (["method=lora", "recipe.epochs=7"], (7, None, 0)),
    ],
)
def test_warm_up_and_cool_down_are_for_the_epochs_that_are_asked_for(words: list[str], expected: tuple) -> None:
    assert recipe(*words) == expected


def test_a_sweep_that_changes_the_epochs_scales_them_in_every_job(tmp_path: Path) -> None:
    text = "defaults: [config, override method: convpass, _self_]\nrecipe: {epochs: 50}\n"
    (tmp_path / "mine.yaml").write_text(text)
    composer = Composer([tmp_path])
    jobs = [["seed=0"], ["seed=1", "recipe.epochs=10"]]
    trees = list(composer.compose_jobs("mine", jobs))
    assert [tree["recipe"]["warmup_epochs"] for tree in trees] == [5, 1]
    assert trees == [composer.compose("mine", job) for job in jobs]
    _, said = composer.scaled(composer.compose_unresolved("mine", ["recipe.epochs=10"]), "mine", ["recipe.epochs=10"])
    assert (
        said == "scaled to recipe.epochs=10: recipe.warmup_epochs=1 (10 of 100 in conf/hparams/convpass/cifar100.yaml)"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            [*CONVPASS, "recipe.lr=1e-8"],
            r"recipe.warmup_lr \(1e-06\) \(recipe.min_lr and recipe.warmup_lr are from conf/hparams/convpass/cif"
            r"ar100.yaml, which hparams=none leaves out\)$",
        ),
        (
            [*CONVPASS, "recipe.min_lr=1"],
            r"\(recipe.lr and recipe.warmup_lr are from conf/hparams/convpass/cifar100.yaml, w",
        ),
        (["method=lora", "recipe.min_lr=1"], r"\(recipe.lr is from conf/method/lora.yaml\)$"),
        (["method=lora", "recipe.epochs=0"], r"recipe.epochs: got 0, must be at least 1$"),
    ],
)
def test_a_refused_value_of_a_file_that_was_not_named_comes_with_the_file(words: list[str], expected: str) -> None:
    composer = Composer()
    tree: dict[str, Any] = composer.compose("config", words)
    with pytest.raises(UserError, match=expected):
        from_dict(tree, methods.get, lambda text: composer.origins("config", words).hint(text))
