"""Every sweep: its jobs are valid cells, as many as its header says, of the tasks that it is about."""

import functools
import itertools
import math
import re
import shlex
from typing import Any

import pytest
from omegaconf import OmegaConf

from aoft_bench import methods
from aoft_bench.config.command_line import read_command_line
from aoft_bench.config.compose import Composer, jobs_of
from aoft_bench.config.folders import conf_dir
from aoft_bench.config.schema import RunConfig, from_dict
from aoft_bench.data.tasks import TASKS

CONF = conf_dir()
SWEEPS = CONF.parent / "sweeps"
# of the sweeps for published rows two: tests/results/test_reproduction.py composes each
NAMES = [
    *sorted(path.stem for path in SWEEPS.glob("*.yaml") if not path.stem.startswith("reproduce_")),
    "reproduce_fgvc_ssf",
    "reproduce_vtab_rlrr",
]
VTAB = [name for name, task in TASKS.items() if task.suite == "vtab1k"]


COMPOSER = Composer([SWEEPS])


sweep_params = functools.cache(COMPOSER.sweep_params)


def jobs(name: str, *overrides: str) -> list[list[str]]:
    """The overrides of each job of a sweep."""
    return jobs_of(sweep_params(name), overrides)


def config(name: str, job: list[str]) -> RunConfig:
    return from_dict(COMPOSER.compose(name, job), methods.get)


def header(name: str) -> list[str]:
    """The comment lines at the top of a sweep, without their marks; a command over several is one."""
    lines = (SWEEPS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return re.sub(r"\\\n\s*", "", "\n".join(line[2:] for line in lines[:end])).split("\n")


@pytest.mark.parametrize("name", NAMES)
def test_jobs_are_as_many_as_the_header_says(name: str) -> None:
    found = jobs(name)
    (said,) = re.findall(r"((?:\d+ [\w ]+? x )*\d+ [\w ]+?) = ([\d,]+) cells", " ".join(header(name)))
    factors = [int(number) for number in re.findall(r"(?:^| x )(\d+)", said[0])]
    assert math.prod(factors) == int(said[1].replace(",", "")) == len(found)
    assert len({tuple(job) for job in found}) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_a_sweep_is_valid(name: str) -> None:
    """The words of all jobs alone, and a job of each method as a whole."""
    found = jobs(name)
    read_command_line(["-cd", str(SWEEPS), "-cn", name, *sorted({word for job in found for word in job})], methods.get)
    for job in {next((word for word in job if word.startswith("method=")), ""): job for job in found}.values():
        made, given = config(name, job), dict(word.split("=", 1) for word in job)
        assert made.dataset.name == given.get("dataset", made.dataset.name)
        assert str(made.seed) == given.get("seed", "0")
        assert float(given.get("recipe.lr", made.recipe.lr)) == made.recipe.lr
        assert given.get("method", made.method.label) in (made.method.label, made.method.name)


def test_every_method_of_vtab1k_on_every_task() -> None:
    found = {tuple(word.partition("=")[2] for word in job[:2]) for job in jobs("vtab1k")}
    assert found == set(itertools.product(("linear", "aoft", "aoft_adapter", "lora", "adapter", "full"), VTAB))


@pytest.mark.parametrize("name", NAMES)
def test_the_header_has_its_own_command_and_each_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SWEEPS.parent)
    commands = [line.strip() for line in header(name) if re.match(r"  python -m aoft_bench ", line)]
    assert any(f"-cd sweeps -cn {name}" in command for command in commands)
    for command in commands:
        read_command_line(shlex.split(command)[3:], methods.get)


@pytest.mark.parametrize(
    ("name", "suite"),
    [
        ("vtab1k", "vtab1k"),
        ("tune", "vtab1k"),
        ("fgvc", "fgvc"),
        ("fewshot", "fgvc"),
        ("manyshot", "manyshot"),
        ("domainshift", "domainshift"),
        ("embedded", "embedded"),
    ],
)
def test_a_sweep_over_a_suite_has_all_of_its_tasks(name: str, suite: str) -> None:
    found = {word.removeprefix("dataset=") for job in jobs(name) for word in job if word.startswith("dataset=")}
    assert found == {task for task, entry in TASKS.items() if entry.suite == suite}


def test_the_papers_tables_are_of_both_benchmarks() -> None:
    found = {word.removeprefix("dataset=") for job in jobs("paper") for word in job if word.startswith("dataset=")}
    assert found == {name for name, entry in TASKS.items() if entry.suite in ("vtab1k", "fgvc")}


def test_each_seed_of_the_few_shot_sweep_draws_images_of_its_own() -> None:
    found = jobs("fewshot", "dataset=cub", "method=linear", "data.shots=1,16")
    made = [from_dict(tree, methods.get) for tree in COMPOSER.compose_jobs("fewshot", found)]
    wanted = {(seed, seed, shots) for seed in (0, 1, 2) for shots in (1, 16)}
    assert {(one.seed, one.data.draw, one.data.shots) for one in made} == wanted and len(made) == 6


@pytest.mark.parametrize("name", ["embedded", "embedded_tune"])
def test_the_embedded_sweeps_compare_methods_of_the_five_packs_without_a_download(name: str) -> None:
    found, packs = (
        {word for job in jobs(one) for word in job if word.startswith("method=")} for one in (name, "five_packs")
    )
    assert packs - found == {"method=goft", "method=vpt_deep"} and found < packs
    made = config(name, jobs(name)[0])
    assert (made.backbone.name, made.trainer.accelerator, made.logger.name) == ("vit_nano", "cpu", "none")
    assert made.recipe.epochs == 10


@pytest.mark.parametrize("name", ["tune", "embedded_tune"])
def test_tuning_scores_val200_and_stays_apart(name: str) -> None:
    """With one recipe for all tasks, the method's own, from which the grid departs."""
    made = config(name, jobs(name)[0])
    assert (made.protocol.name, made.results.root, made.logger.name) == ("tune", "results/tuning", "none")
    own: Any = OmegaConf.load(CONF / "method" / f"{made.method.label}.yaml").recipe
    assert made.recipe.drop_path == 0.0 and own.lr != made.recipe.lr
    assert made.method.options == config("config", [f"method={made.method.label}", "hparams=none"]).method.options


def test_the_grid_can_be_given_on_the_command_line() -> None:
    found = jobs("tune", "method=full", "dataset=dtd", "recipe.lr=3e-5,1e-4", "recipe.weight_decay=0.0")
    assert [[word for word in job if "lr" in word] for job in found] == [["recipe.lr=3e-05"], ["recipe.lr=0.0001"]]
    assert [config("tune", job).recipe.lr for job in found] == [3e-5, 1e-4]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("ablation")])
def test_an_ablation_varies_one_thing_and_runs_on_embedded_data(name: str) -> None:
    """By its header's command for embedded data: no task of vtab1k is left, and only the method's settings vary."""
    (command,) = [line for line in header(name) if "dataset=digits" in line]
    overrides = shlex.split(command)[7:]
    found = jobs(name, *overrides)
    made = [config(name, job) for job in found]
    assert {(one.dataset.name, one.backbone.name, one.seed) for one in made} == {("digits", "vit_nano", 0)}
    assert len({str(one.method.options) for one in made}) == len(found) > 1
    assert len({str(one.recipe) for one in made}) == 1
