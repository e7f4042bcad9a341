"""`aoft-bench tune`: trials go on bit for bit, stopped ones are no results, and nobody's work is lost."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result, call, words
from safetensors.torch import load_file

from aoft_bench.data.prepared_task import PreparedTask
from aoft_bench.experiments import run
from aoft_bench.records.files import read_record
from aoft_bench.records.schema import check_record
from aoft_bench.results.collect import collect
from aoft_bench.training.module import FineTuning
from aoft_bench.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 3
GRID = {"recipe.lr": "1e-3,3e-3,3e-2"}
PLAN = {"rungs": [1, 3], "trials": [3, 1]}
SPENT = 3 * 1 + 1 * 2


@pytest.fixture(scope="module")
def pack(nano_pack: dict[str, str]) -> dict[str, str]:
    """A cell with every kind of dropout and mirroring, on 24 images: two steps an epoch."""
    return nano_pack | {
        "method": "lora",
        "protocol": "tune",
        "recipe.epochs": str(EPOCHS),
        "recipe.batch_size": "12",
        "recipe.drop_path": "0.3",
        "recipe.mlp_dropout": "0.1",
        "recipe.flip": "true",
    }


def tune(folder: Path, options: dict[str, str], *more: str) -> Result:
    return call("tune", "-cn", "config", "rungs=1", *words(options | GRID), *more, cwd=folder)


@pytest.fixture(scope="module")
def searched(pack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """(the folder of a search by one process, what it printed). Nothing may open test images, or read a record of them:
    only its protocol is right."""
    folder = tmp_path_factory.mktemp("searched")
    other = folder / "results/records/vit_nano/lora/digits/seed0-0123456789.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({"protocol": {"name": "clean"}, "metrics": "tempting"}))

    def opened(self: PreparedTask) -> Any:
        raise AssertionError("test images were opened")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreparedTask, "open_test", opened)
        result = tune(folder, pack)
    assert result.code == 0, result.err
    other.unlink()
    return folder, result


def files(folder: Path, ending: str) -> list[Path]:
    return sorted(path for path in (folder / "results").rglob(f"*{ending}") if path.is_file())


def records(folder: Path, kind: str = "records") -> dict[float, Path]:
    """Paths of records, by their rate."""
    paths = (folder / "results" / kind).rglob("*.json")
    return {json.loads(path.read_text())["config"]["recipe"]["lr"]: path for path in paths}


def test_what_it_prints_and_leaves(searched: tuple[Path, Result]) -> None:
    folder, result = searched
    lines = result.out.splitlines()
    assert lines[0] == (
        f"lora · folder · vit_nano: 3 to epoch 1, 1 to epoch 3: {SPENT} epochs, 56% of the 9 that these 3 settings "
        "take to the end"
    )
    trials = [line.partition(": rung ")[2].partition(" epochs")[0] for line in lines if ": rung " in line]
    assert trials == ["1 of 2, 1 of 3"] * 3 + ["2 of 2, 3 of 3"]
    assert f"  {SPENT} epochs of training; the grid takes 9" in lines
    assert lines[-1].startswith("  next: aoft-bench select results; python -m aoft_bench method=lora dataset=folder")
    finished, stopped = records(folder), records(folder, "stopped")
    assert len(finished) == 1 and sorted([*finished, *stopped]) == [1e-3, 3e-3, 3e-2]
    (best,) = finished.values()
    assert read_record(best)["trial"] == {"rung": 2, **PLAN}
    for path in stopped.values():
        record = read_record(path)
        assert record["trial"] == {"rung": 1, **PLAN} and len(record["curves"]["val200_top1"]) == 1
    assert not files(folder, ".ckpt") and [path.name for path in files(folder, ".lock")] == ["turn.lock"]


def test_a_trial_that_went_on_is_the_run_that_was_not_stopped(
    searched: tuple[Path, Result], pack: dict[str, str], tmp_path: Path
) -> None:
    """Rates follow the schedule of all epochs, so the curve of a stopped trial is the beginning of the long run's."""
    ((lr, path),) = records(searched[0]).items()
    whole = call(*words(pack, recipe__lr=str(lr)), cwd=tmp_path)
    assert whole.code == 0, whole.err
    expected = records(tmp_path)[lr]
    first, second = read_record(path), read_record(expected)
    assert (first.pop("trial"), first["cost"]["resumed"], second["cost"]["resumed"]) == ({"rung": 2, **PLAN}, 1, 0)
    for record in (first, second):
        del record["cost"], record["finished"], record["command"]
    assert first == second
    trained, others = load_file(path.with_suffix(".safetensors")), load_file(expected.with_suffix(".safetensors"))
    assert trained.keys() == others.keys() and all(torch.equal(trained[name], others[name]) for name in trained)


def test_a_search_that_is_done_trains_nothing_again(searched: tuple[Path, Result], pack: dict[str, str]) -> None:
    folder, before = searched
    with untrained():
        result = tune(folder, pack)
    assert (result.code, result.out) == (0, before.out)


def test_without_its_journal_a_search_begins_with_what_is_there(
    searched: tuple[Path, Result], pack: dict[str, str], tmp_path: Path
) -> None:
    """As the messages say: no training is lost, and a grid with one more setting trains that one."""
    shutil.copytree(searched[0], tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "results/searches")
    with untrained():
        assert tune(tmp_path, pack).out == searched[1].out


@contextmanager
def untrained() -> Iterator[None]:
    """Training fails."""

    def step(*_: Any) -> Any:
        raise AssertionError("a step of training")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuning, "training_step", step)
        yield


def test_what_was_stopped_is_never_a_result(searched: tuple[Path, Result], tmp_path: Path) -> None:
    """Neither where it lies nor among the records, moved there by hand, whole or edited."""
    folder, _ = searched
    (stopped, *_), (finished,) = records(folder, "stopped").values(), records(folder).values()
    assert [path for path in collect(folder / "results").paths] == [finished]
    good = json.loads(stopped.read_text())
    moved = tmp_path / "results/records" / stopped.relative_to(folder / "results/stopped")
    moved.parent.mkdir(parents=True)
    edits: list[dict[str, Any]] = [
        good,
        good | {"trial": {**good["trial"], "rung": 2}},
        good | {"trial": {"rung": 1, "rungs": [3], "trials": [3]}},
        good | {"trial": {"rung": 1, "rungs": [1], "trials": [3]}},
    ]
    reasons = ["is not in its place", "its curve has 1", "its curve has 1", "rise to the 3 epochs"]
    for record, reason in zip(edits, reasons, strict=True):
        moved.write_text(json.dumps(record))
        found = collect(tmp_path / "results")
        assert not found.records and reason in str(found.left_out[0])
        with pytest.raises(UserError, match=reason):
            read_record(moved)
        with pytest.raises(UserError, match=r"stopped early, not a result|its curve has 1|rise to the 3 epochs"):
            read_record(moved, anywhere=True)
        refused = call("select", "results", "--conf", "mine", cwd=tmp_path)
        assert refused.code == 2 and "no tuning records" in refused.err and not (tmp_path / "mine").exists()


def test_select_names_stopped_trials_and_takes_the_finished_one(searched: tuple[Path, Result]) -> None:
    folder, _ = searched
    ((lr, _),) = records(folder).items()
    done = call("select", "results", "--conf", "mine", cwd=folder)
    assert done.code == 0, done.err
    assert f"recipe.lr={lr:g}" in done.out and "the best of 3" in done.out
    assert f"2 of them were stopped early; {SPENT} epochs of training in all" in done.out
    text = (folder / "mine/hparams/tuned/lora/folder.yaml").read_text()
    assert "tuned: recipe.lr; the other values" in text and f"\n  lr: {lr}\n" in text
    assert "# stopped early by aoft-bench tune, after so many epochs:" in text and ", 1 epochs\n" in text
    assert f"# epochs of training in all: {SPENT}" in text


def test_the_last_rung_has_the_score_that_select_reads(
    pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record is of the merged network: with bf16 it may differ from the last point of its curve."""
    whole = run.run

    def merged(*arguments: Any, **options: Any) -> Any:
        outcome = whole(*arguments, **options)
        outcome.record["metrics"]["top1"] = 77.5
        return outcome

    monkeypatch.setattr(run, "run", merged)
    done = tune(tmp_path, pack)
    assert done.code == 0, done.err
    assert "rung 2 of 2, 3 of 3 epochs, val200 top-1 77.50 %" in done.out and done.out.count("77.50") == 1


def test_only_stopped_trials_are_nothing_to_select_from(searched: tuple[Path, Result], tmp_path: Path) -> None:
    shutil.copytree(searched[0] / "results/stopped", tmp_path / "results/stopped")
    done = call("select", "results", "--conf", "mine", cwd=tmp_path)
    assert done.code == 2 and "2 trials of aoft-bench tune that did not come to the end" in done.err


def test_a_trial_fits_its_record(searched: tuple[Path, Result]) -> None:
    (path,) = records(searched[0]).values()
    good = json.loads(path.read_text())
    for trial, reason in (
        ({"rung": 1}, "its curve has 3"),
        ({"rung": 3}, "of 2 rungs"),
        ({"rungs": [3, 1]}, "rise to the 3 epochs"),
        ({"rungs": [1, 4]}, "rise to the 3 epochs"),
        ({"trials": [3]}, "1 numbers of trials"),
        ({"rung": "2"}, "trial.rung is '2'"),
    ):
        with pytest.raises(UserError, match=reason):
            check_record(good | {"trial": good["trial"] | trial})
    check_record({name: value for name, value in good.items() if name != "trial"})  # as older ones are


def test_a_setting_that_diverges_is_out_and_the_others_go_on(
    pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FineTuning, "epoch_loss", lambda self: math.nan if self.job.recipe.lr == 1e-3 else 1.0)
    options = pack | {"method": "linear", "recipe.epochs": "2"}
    result = tune(tmp_path, options)
    assert result.code == 0, result.err
    assert "recipe.lr=0.001: rung 1 of 2, 1 of 2 epochs, diverged" in result.out
    assert 1e-3 not in records(tmp_path) and len(records(tmp_path)) == 1


@pytest.mark.slow
def test_where_all_settings_diverge_none_is_best(
    pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FineTuning, "epoch_loss", lambda self: math.nan)
    result = tune(tmp_path, pack | {"method": "linear"})
    assert result.code == 2 and "no setting could be trained: all diverged" in result.out
    assert not records(tmp_path)


class Killed(BaseException):
    """An exception that no code of the package catches."""


@pytest.mark.parametrize("at", [pytest.param(2, marks=pytest.mark.slow), 9, pytest.param(5, marks=pytest.mark.slow)])
def test_a_process_that_is_stopped_loses_nothing(
    at: int, searched: tuple[Path, Result], pack: dict[str, str], tmp_path: Path
) -> None:
    """In any step: the search goes on from there, to the same records."""
    step, seen = FineTuning.training_step, [0]

    def counted(self: FineTuning, *batch: Any) -> Any:
        seen[0] += 1
        if seen[0] == at:
            raise Killed
        return step(self, *batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(FineTuning, "training_step", counted)
        tune(tmp_path, pack)
    result = tune(tmp_path, pack)
    assert result.code == 0, result.err
    same_search(tmp_path, searched[0])


def same_search(folder: Path, expected: Path) -> None:
    """Whether two searches have the same finished and stopped records, but for times."""

    def plain(path: Path) -> Any:
        record = read_record(path)
        return {name: value for name, value in record.items() if name not in ("cost", "finished")}

    for kind in ("records", "stopped"):
        ours, theirs = records(folder, kind), records(expected, kind)
        assert ours.keys() == theirs.keys()
        assert [plain(ours[lr]) for lr in ours] == [plain(theirs[lr]) for lr in ours]


@pytest.mark.slow
def test_three_processes_and_a_kill_come_to_the_same_search(
    searched: tuple[Path, Result], pack: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "aoft_bench", "tune", "-cn", "config", "rungs=1", *words(pack | GRID)]

    def start() -> "subprocess.Popen[str]":
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes)

    with start() as first:
        while not files(tmp_path, ".ckpt"):
            assert first.poll() is None
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
    racing = [start() for _ in range(2)]
    outputs = [process.communicate(timeout=600) for process in racing]
    assert [process.returncode for process in racing] == [0, 0], outputs
    for out, _ in outputs:  # each tells of the trials of both
        assert out.count(": rung 1 of 2") == 3 and out.count(": rung 2 of 2") == 1
    same_search(tmp_path, searched[0])
    assert not files(tmp_path, ".ckpt") and not list(tmp_path.rglob("worker-*"))
