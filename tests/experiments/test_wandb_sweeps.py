"""Files for `wandb sweep`: every value of their grids is understood, and one point is run as an agent would run it."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command
from wandb_files import offline_folders, read_run

from aoft_bench import methods
from aoft_bench.config.command_line import read_command_line
from aoft_bench.records.files import read_record

FOLDER = Path(__file__).resolve().parents[2] / "sweeps/wandb"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
CELLS = {"aoft.yaml": 5 * 2 * 3, "lora.yaml": 5 * 2, "digits.yaml": 2 * 4}


def sweep(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return config


def points(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of a grid, as W&B's server tells them to an agent."""
    values = {name: given.get("values", [given.get("value")]) for name, given in config["parameters"].items()}
    return [
        {name: {"value": value} for name, value in zip(values, point, strict=True)}
        for point in itertools.product(*values.values())
    ]


def command(config: dict[str, Any], point: dict[str, Any]) -> list[str]:
    """The words that an agent starts for a point, put together by W&B's own code."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    given = create_sweep_command_args({"args": point}) | {"env": ["/usr/bin/env"]}
    words: list[str] = []
    for word in create_sweep_command(list(config["command"])):
        words += given[word[2:-1]] if word.startswith("${") else [word]
    return words


def test_every_file_is_known() -> None:
    assert set(FILES) == set(CELLS)


@pytest.mark.parametrize("name", FILES)
def test_every_value_is_understood(name: str) -> None:
    config = sweep(name)
    grid = points(config)
    assert len(grid) == CELLS[name]
    assert config["method"] == "grid"
    assert config["metric"] == {"name": "val200/top1", "goal": "maximize"}
    assert config["command"][:4] == ["${env}", "python", "-m", "aoft_bench"]
    *fixed, last = config["command"][4:]
    assert {"protocol=tune", "results.mode=force"} <= set(fixed) and last == "${args_no_hyphens}"
    together = {name: ",".join(dict.fromkeys(str(point[name]["value"]) for point in grid)) for name in grid[0]}
    read_command_line(["-m", *fixed, *(f"{name}={values}" for name, values in together.items())], methods.get)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The environment that an agent gives to the commands it starts, offline; the value is the file of parameters."""
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    parameters = tmp_path / "sweep-parameters.yaml"
    given = {"MODE": "offline", "SWEEP_ID": "abcd1234", "RUN_ID": "given5678", "SWEEP_PARAM_PATH": str(parameters)}
    for name, value in given.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    wandb.teardown()
    yield parameters
    wandb.teardown()


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_the_words_of_an_agent(name: str) -> None:
    config = sweep(name)
    point = points(config)[0]
    given = [f"{option}={value['value']}" for option, value in point.items()]
    assert command(config, point) == ["/usr/bin/env", *config["command"][1:-1], *given]


@pytest.mark.slow
# W&B leaves the file of parameters open, which Python says when it closes it
@pytest.mark.filterwarnings("ignore:[^$]*sweep-parameters.yaml:pytest.PytestUnraisableExceptionWarning")
def test_the_command_of_an_agent_runs(agent: Path, nano: dict[str, str], cli: Command, tmp_path: Path) -> None:
    config = sweep("digits.yaml")
    point = points(config)[5] | {"recipe.epochs": {"value": 1}}
    agent.write_text(yaml.safe_dump({"wandb_version": 1, **point}))
    here = {k: v for k, v in nano.items() if k in ("backbone.checkpoint", "trainer.threads", "trainer.progress")}
    result = cli(*command(config, point)[4:], *(f"{name}={value}" for name, value in here.items()))
    assert result.code == 0 and result.err == ""
    (path,) = (tmp_path / "results/tuning").rglob("*.json")
    record = read_record(path)
    assert (record["method"], record["dataset"], record["config"]["recipe"]["lr"]) == ("lora", "digits", 0.001)
    run = read_run(offline_folders(tmp_path / "outputs")[0])
    assert (run.id, run.sweep) == ("given5678", "abcd1234")
    assert [row["val200/top1"] for row in run.rows] == pytest.approx(record["curves"]["val200_top1"], abs=1e-4)
    assert run.summary["val200/top1"] == record["metrics"]["top1"]
    # W&B shows what its sweep chose by the names of the command, and the rest beside it
    assert (run.config["method"], run.config["recipe.lr"], run.config["dataset"]) == ("lora", 0.001, "digits")
    assert run.config["recipe"]["lr"] == 0.001
