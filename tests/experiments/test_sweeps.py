"""Every sweep: its jobs are valid cells, as many as its header says, of the tasks that it is about."""

import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from aoft_bench.config.command_line import check_command_line
from aoft_bench.config.schema import RunConfig, conf_dir, from_dict
from aoft_bench.data.tasks import TASKS
from aoft_bench.experiments.sweep import jobs_of

CONF = conf_dir()
SWEEPS = CONF.parent / "sweeps"
NAMES = sorted(path.stem for path in SWEEPS.glob("*.yaml"))
VTAB = [name for name, task in TASKS.items() if task.suite == "vtab1k"]
SMALL = 9  # cells: composing takes a tenth of a second each
EIGHT = {"linear", "aoft", "aoft_without_lambda", "aoft_adapter", "lora", "lora_matched", "adapter", "full"}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """conf/ and sweeps/ in one folder: sweeps start from one another and from conf/config.yaml."""
    folder = tmp_path_factory.mktemp("both") / "conf"
    shutil.copytree(CONF, folder)
    for name in NAMES:
        shutil.copy(SWEEPS / f"{name}.yaml", folder)
    return folder


def composed(folder: Path, name: str, overrides: list[str], *, hydra: bool = False) -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(folder)):
        return compose(config_name=name, overrides=overrides, return_hydra_config=hydra)


def jobs(folder: Path, name: str, *overrides: str) -> list[list[str]]:
    """The overrides of each job of a sweep, as Hydra makes them."""
    sweeper = composed(folder, name, [], hydra=True).hydra.sweeper
    params: Any = OmegaConf.to_container(sweeper.params, resolve=True)
    return jobs_of(params, list(overrides))


def config(folder: Path, name: str, job: list[str]) -> RunConfig:
    plain: Any = OmegaConf.to_container(composed(folder, name, job), resolve=True)
    return from_dict(plain)


def covering(found: list[list[str]]) -> list[list[str]]:
    """All jobs of a small sweep; of a large one as many as show every value of the grid at least once.

    Tasks of VTAB-1k are left to the test that composes each of them with each method.
    """
    if len(found) <= SMALL:
        return found
    seen = {f"dataset={name}" for name in VTAB}
    kept = []
    for job in found:
        if not seen.issuperset(job):
            kept.append(job)
            seen.update(job)
    return kept


def header(name: str) -> list[str]:
    """The comment lines at the top of a sweep, without their marks."""
    lines = (SWEEPS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return [line[2:] for line in lines[:end]]


@pytest.mark.parametrize("name", NAMES)
def test_jobs_are_valid_and_as_many_as_the_header_says(name: str, both: Path) -> None:
    found = jobs(both, name)
    (said,) = re.findall(r"((?:\d+ [\w ]+? x )*\d+ [\w ]+?) = ([\d,]+) cells", " ".join(header(name)))
    factors = [int(number) for number in re.findall(r"(?:^| x )(\d+)", said[0])]
    assert math.prod(factors) == int(said[1].replace(",", "")) == len(found)
    assert len({tuple(job) for job in found}) == len(found)
    for job in covering(found):
        made = config(both, name, job)
        told = dict(word.split("=", 1) for word in job)
        assert made.dataset.name == told.get("dataset", made.dataset.name)
        assert str(made.seed) == told.get("seed", "0")
        assert float(told.get("recipe.lr", made.recipe.lr)) == made.recipe.lr
        assert told.get("method", made.method_label) in (made.method_label, made.method_name)


@pytest.mark.parametrize("dataset", VTAB)
def test_every_method_of_vtab1k_on_every_task(dataset: str, both: Path) -> None:
    found = [job for job in jobs(both, "vtab1k", f"dataset={dataset}", "seed=0") if f"dataset={dataset}" in job]
    assert {config(both, "vtab1k", job).method_label for job in found} == {
        *("linear", "aoft", "aoft_adapter", "lora", "adapter", "full")
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_header_has_its_own_command_and_each_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SWEEPS.parent)
    commands = [line.strip() for line in header(name) if re.match(r"  python -m aoft_bench ", line)]
    assert any(f"-cd sweeps -cn {name}" in command for command in commands)
    for command in commands:
        check_command_line(shlex.split(command)[3:])


@pytest.mark.parametrize(
    ("name", "suite"), [("vtab1k", "vtab1k"), ("tune", "vtab1k"), ("fgvc", "fgvc"), ("embedded", "embedded")]
)
def test_a_sweep_over_a_suite_has_all_of_its_tasks(name: str, suite: str, both: Path) -> None:
    found = {word.removeprefix("dataset=") for job in jobs(both, name) for word in job if word.startswith("dataset=")}
    assert found == {task for task, entry in TASKS.items() if entry.suite == suite}


@pytest.mark.parametrize("name", ["embedded", "embedded_tune"])
def test_the_embedded_sweeps_compare_eight_methods_without_a_download(name: str, both: Path) -> None:
    found = jobs(both, name)
    assert {word.removeprefix("method=") for job in found for word in job if word.startswith("method=")} == EIGHT
    made = config(both, name, found[0])
    assert (made.backbone.name, made.trainer.accelerator, made.logger.name) == ("vit_nano", "cpu", "none")
    assert made.recipe.epochs == 10


@pytest.mark.parametrize("name", ["tune", "embedded_tune"])
def test_tuning_scores_val200_and_stays_apart(name: str, both: Path) -> None:
    """With one recipe for all tasks, the method's own, from which the grid departs."""
    made = config(both, name, jobs(both, name)[0])
    assert (made.protocol.name, made.results.root, made.logger.name) == ("tune", "results/tuning", "none")
    own: Any = OmegaConf.load(CONF / "method" / f"{made.method_label}.yaml").recipe
    assert made.recipe.drop_path == 0.0 and own.lr != made.recipe.lr
    assert made.method_options == config(both, "config", [f"method={made.method_label}", "hparams=none"]).method_options


def test_the_grid_can_be_given_on_the_command_line(both: Path) -> None:
    found = jobs(both, "tune", "method=full", "dataset=dtd", "recipe.lr=3e-5,1e-4", "recipe.weight_decay=0.0")
    assert [[word for word in job if "lr" in word] for job in found] == [["recipe.lr=3e-05"], ["recipe.lr=0.0001"]]
    assert [config(both, "tune", job).recipe.lr for job in found] == [3e-5, 1e-4]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("ablation")])
def test_an_ablation_varies_one_thing_and_runs_on_embedded_data(name: str, both: Path) -> None:
    """By its header's command for embedded data: no task of vtab1k is left, and only the method's settings vary."""
    (command,) = [line for line in header(name) if "dataset=digits" in line]
    overrides = shlex.split(command)[7:]
    found = jobs(both, name, *overrides)
    made = [config(both, name, job) for job in found]
    assert {(one.dataset.name, one.backbone.name, one.seed) for one in made} == {("digits", "vit_nano", 0)}
    assert len({str(sorted(one.method.items(), key=str)) for one in made}) == len(found) > 1
    assert len({str(one.recipe) for one in made}) == 1
