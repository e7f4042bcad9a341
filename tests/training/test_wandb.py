"""W&B offline: what its own files hold, what becomes of them when a run is stopped and goes on, and broken W&B."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, call, words
from packs import make_pack
from test_config import config_of
from wandb_files import offline_folders, read_run

from aoft_bench.config.schema import RecipeOptions, RunConfig
from aoft_bench.records.files import read_record
from aoft_bench.training.checkpoint import EpochCheckpoint
from aoft_bench.training.optim import learning_rate
from aoft_bench.training.wandb import Mirror, metric_name, run_id

SIZES = {"train800": 24, "val200": 8, "test": 20}


@pytest.fixture(autouse=True, scope="module")
def no_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of this machine's W&B: no key, no ~/.netrc."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def no_process() -> Iterator[None]:
    """W&B's own process is ended after each test."""
    import wandb  # here: it takes seconds, also where none of these tests run

    yield
    wandb.teardown()


@pytest.fixture(scope="module")
def options(no_key: None, tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> dict[str, str]:
    """A linear probe on a small pack, mirrored into out/."""
    root = tmp_path_factory.mktemp("pack")
    make_pack(root / "pack", sizes=SIZES, shape=(32, 32))
    mine = {"dataset": "folder", "data.root": str(root / "pack"), "data.cache": str(root / "cache")}
    return nano | mine | {"method": "linear", "logger": "wandb", "logger.dir": "out", "recipe.epochs": "4"}


@pytest.fixture(scope="module")
def whole(options: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    result = call(*words(options, protocol="tune", logger__project="mine"), cwd=folder)
    assert result.code == 0 and result.err == ""
    return folder


def only_record(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "results").rglob("*.json")
    return read_record(path)


def test_an_offline_run_holds_what_the_record_does(whole: Path) -> None:
    (folder,) = offline_folders(whole / "out")
    run, record = read_run(folder), only_record(whole)
    assert run.id == f"linear-folder-vit_nano-seed0-{record['hash']}"
    assert re.fullmatch(r"offline-run-\d{8}_\d{6}-" + run.id, folder.name)
    assert (run.name, run.project) == ("linear · folder · vit_nano · seed 0", "mine")
    assert (run.group, run.job_type) == ("vit_nano/linear/folder", "tune")
    assert run.tags == ["vit_nano", "tune", "not the official split"]
    shown = {name: run.config[name] for name in ("method", "dataset", "backbone", "protocol", "seed", "hash")}
    chosen = {"method": "linear", "dataset": "folder", "backbone": "vit_nano", "protocol": "tune", "seed": 0}
    assert shown == chosen | {"hash": record["hash"]}
    assert run.config["recipe"] == record["config"]["recipe"]
    assert run.config["method_options"] == {"name": "linear"}
    known = {"weights_sha256": record["weights"]["sha256"], "data_fingerprint": record["data"]["fingerprint"]}
    known |= {name: record[name] for name in ("precision", "versions", "code", "git")}
    assert known.items() <= run.config.items()
    losses, scores = record["curves"]["train_loss"], record["curves"]["val200_top1"]
    recipe = RecipeOptions(**record["config"]["recipe"])
    steps = -(-SIZES["train800"] // recipe.batch_size)
    rates = [learning_rate(recipe, epoch * steps - 1, 4 * steps) for epoch in (1, 2, 3, 4)]
    expected = [
        {"train/loss": pytest.approx(loss, abs=1e-6), "val200/top1": pytest.approx(score, abs=1e-4)}
        | {"train/lr": pytest.approx(rate), "epoch": epoch, "_step": epoch}
        for epoch, loss, score, rate in zip((1, 2, 3, 4), losses, scores, rates, strict=True)
    ]
    assert run.metrics() == expected
    assert run.summary["val200/top1"] == record["metrics"]["top1"]
    for section in ("parameters", "cost"):
        assert {f"{section}/{k}": v for k, v in record[section].items()}.items() <= run.summary.items()
    assert run.exit_code == 0


def test_no_test_accuracy_is_logged_while_training(options: dict[str, str], cli: Command, tmp_path: Path) -> None:
    assert cli(*words(options, protocol="clean", recipe__epochs="2")).code == 0
    (folder,) = offline_folders(tmp_path / "out")
    run, record = read_run(folder), only_record(tmp_path)
    assert [set(row) for row in run.metrics()] == [{"train/loss", "train/lr", "epoch", "_step"}] * 2
    assert run.summary["test/top1"] == record["metrics"]["top1"]
    assert not [name for name in run.summary if name.startswith("best_test")]


def test_literature_logs_the_test_epochs_and_keeps_the_last(
    options: dict[str, str], cli: Command, tmp_path: Path
) -> None:
    assert cli(*words(options, protocol="literature", recipe__epochs="2", recipe__lr="3e-2")).code == 0
    run, record = read_run(offline_folders(tmp_path / "out")[0]), only_record(tmp_path)
    assert [row["test/top1"] for row in run.rows] == pytest.approx(record["curves"]["test_top1"], abs=1e-4)
    assert run.summary["test/top1"] == record["metrics"]["top1"]
    assert run.summary["best_test_epoch"] == record["metrics"]["best_test_epoch"]


def stop_after(epoch: int, patch: pytest.MonkeyPatch) -> None:
    """Let a run end as SIGTERM ends it, once it has its checkpoint of an epoch."""
    done = EpochCheckpoint.on_train_epoch_end

    def stop(self: EpochCheckpoint, trainer: Any, module: Any) -> None:
        done(self, trainer, module)
        if trainer.current_epoch + 1 == epoch:
            raise SystemExit(128 + signal.SIGTERM)

    patch.setattr(EpochCheckpoint, "on_train_epoch_end", stop)


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_that_goes_on_is_one_whole_run(
    options: dict[str, str], whole: Path, tmp_path: Path, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = words(options, protocol="tune")
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        assert call(*arguments, cwd=tmp_path).code == 143
    (stopped,) = offline_folders(tmp_path / "out")
    first = read_run(stopped)
    assert len(first.rows) == 2 and first.exit_code == 1 and "preempting" in first.kinds
    if killed:  # what kill -9 leaves of W&B's file, whatever was logged
        (file,) = stopped.glob("*.wandb")
        file.write_bytes(file.read_bytes()[:7])
    done = call(*arguments, cwd=tmp_path)
    assert done.code == 0, done.err
    (one,), (other,) = offline_folders(whole / "out"), offline_folders(tmp_path / "out")
    undisturbed, resumed = read_run(one), read_run(other)
    assert resumed.id == undisturbed.id == first.id
    rows = [{k: pytest.approx(v, abs=1e-4) for k, v in row.items()} for row in undisturbed.metrics()]
    assert resumed.metrics() == rows
    assert resumed.exit_code == 0 and resumed.summary["val200/top1"] == undisturbed.summary["val200/top1"]
    assert resumed.summary["cost/resumed"] == 1
    assert resumed.summary["parameters/head"] == undisturbed.summary["parameters/head"]


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return mirrored_in(tmp_path)


def mirrored_in(folder: Path) -> RunConfig:
    """The default configuration, whose W&B runs are kept in out/ of a folder."""
    plain = config_of()
    return dataclasses.replace(plain, logger=dataclasses.replace(plain.logger, name="wandb", dir=str(folder / "out")))


def mirror(config: RunConfig) -> Mirror:
    return Mirror(config, label="a cell", digest="0123456789", official=True)


def train(config: RunConfig, start: int, stop: int) -> None:
    """What a run logs that has `start` epochs behind it and ends after `stop`."""
    with mirror(config) as one:
        assert one.logger is not None
        one.logger.replay({"train_loss": [float(epoch) for epoch in range(1, start + 1)]})
        for epoch in range(start, stop):  # Lightning counts from 0
            one.logger.log_metrics({"train/loss": epoch + 1.0, "epoch": epoch}, step=10 * epoch)


def test_starts_that_were_uploaded_are_kept_and_not_repeated(config: RunConfig, tmp_path: Path) -> None:
    train(config, 0, 2)
    (first,) = offline_folders(tmp_path / "out")
    (file,) = first.glob("*.wandb")
    file.with_suffix(".wandb.synced").touch()  # as `wandb sync` does
    empty = first.with_name("offline-run-20200101_000000-" + run_id(config, "0123456789"))
    other = first.with_name("offline-run-20200101_000000-another-" + run_id(config, "0123456789"))
    for folder in (empty, other):
        shutil.copytree(first, folder)
        (folder / file.name).write_bytes(file.read_bytes()[:7])
    (empty / (file.name + ".synced")).unlink()
    train(config, 2, 4)
    assert first.exists() and other.exists() and not empty.exists()
    latest = offline_folders(tmp_path / "out")[-1]
    assert [row["_step"] for row in read_run(latest).rows] == [3, 4]


def test_ids_are_valid_and_as_distinct_as_records(config: RunConfig) -> None:
    import wandb

    named = dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, name="vit+b"))
    assert run_id(named, "0123456789") == "aoft-cifar100-vit_b-seed0-0123456789"
    long = dataclasses.replace(config, method=dataclasses.replace(config.method, label="a" * 200), seed=7)
    assert len(run_id(long, "0123456789")) == 128 and run_id(long, "0123456789").endswith("-seed7-0123456789")
    others = [config, dataclasses.replace(config, seed=1), long]
    assert len({run_id(c, d) for c in others for d in ("0123456789", "0123456780")}) == 6
    for c in [*others, named]:
        assert wandb.Settings(run_id=run_id(c, "0123456789")).run_id


def test_the_names_of_curves() -> None:
    assert [metric_name(n) for n in ("train_loss", "val200_top1", "test_top1")] == [
        "train/loss",
        "val200/top1",
        "test/top1",
    ]


def test_online_without_a_key_says_how_to_get_one(
    config: RunConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = dataclasses.replace(config, logger=dataclasses.replace(config.logger, mode="online"))
    train(asked, 0, 1)
    train(asked, 0, 2)
    why = "no key: `wandb login` asks for it"
    line = f"aoft_bench: W&B is offline ({why}); runs are kept in {tmp_path}/out for `wandb sync`\n"
    assert capsys.readouterr().err == line
    assert len(read_run(offline_folders(tmp_path / "out")[-1]).rows) == 2


def test_wandb_mode_disabled_is_respected(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train(config, 0, 1)
    assert offline_folders(tmp_path / "out") == []


@pytest.mark.parametrize("what", ["a file", "/proc", "no package"])
def test_broken_wandb_is_one_line_and_the_record_is_kept(
    options: dict[str, str], cli: Command, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out" if what != "/proc" else Path("/proc")  # there nobody can write
    if what == "a file":
        folder.write_text("not a folder")
    if what == "no package":
        monkeypatch.setitem(sys.modules, "wandb", None)
    result = cli(*words(options, recipe__epochs="1", logger__dir=str(folder)))
    assert result.code == 0
    assert re.fullmatch(r"aoft_bench: W&B is left out \(\w+: [^\n]+\); the record is kept\n", result.err)
    assert only_record(tmp_path)["metrics"]["total"] == 20


@pytest.mark.slow
def test_a_wandb_that_dies_while_training_is_one_line(tmp_path: Path) -> None:
    # in a process of its own, since W&B never waits for its process that was killed
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = f"import test_wandb; test_wandb.die_and_go_on({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("aoft_bench: W&B is left out (") == 1
    (folder,) = offline_folders(tmp_path / "out")
    assert [row["epoch"] for row in read_run(folder).rows] == [1, 2]


def die_and_go_on(folder: str) -> None:
    """A run whose W&B is killed after an epoch, and the next run of the same process."""
    config = mirrored_in(Path(folder))
    record = {"metrics": {"split": "test", "top1": 1.0}, "parameters": {"trained": 1}, "cost": {"train_seconds": 1.0}}
    with mirror(config) as one:
        assert one.logger is not None
        one.logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=1)
        kill_core()
        for epoch in range(1, 4):
            one.logger.log_metrics({"train/loss": 1.0, "epoch": epoch}, step=epoch + 1)
        one.summarize(record)
        assert one.logger.run is None
    train(config, 0, 2)


def kill_core() -> None:
    """Kill W&B's process, a child of this one, and wait until the connection to it is gone."""
    found = subprocess.run(["ps", "-o", "pid,comm", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    (pid,) = (int(line.split()[0]) for line in found.splitlines() if "wandb-core" in line)
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
