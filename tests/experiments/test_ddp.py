"""One model trained by several processes: the numbers of one process, one record, and no process left running.

How a batch is cut is tested in tests/training/test_shards.py.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import call, words
from packs import make_pack
from safetensors.torch import load_file
from test_config import config_of
from wandb_files import offline_folders, read_run

from aoft_bench.experiments.ddp_worker import _train
from aoft_bench.records.code_version import code_digest
from aoft_bench.records.files import read_record
from aoft_bench.records.unfinished import read_notes
from aoft_bench.utils.errors import UserError

METHODS = ("aoft", "full", "bitfit", "gps")
EPOCHS = 3
# 25 + 9 images in batches of 11, 11, 11 and 1: two processes have 5 and 6 of a batch, and of the last one 0 and 1
SIZES = {"train800": 25, "val200": 9, "test": 20}
RECIPE = {
    "recipe.epochs": str(EPOCHS),
    "recipe.batch_size": "11",
    "recipe.warmup_epochs": "1",
    "recipe.flip": "true",
    "recipe.label_smoothing": "0.1",
    # processes draw other dropout masks than one process
    "recipe.drop_path": "0",
    "recipe.mlp_dropout": "0",
}
TOGETHER = {"trainer": "ddp", "trainer.accelerator": "cpu", "trainer.devices": "2", "trainer.precision": "fp32"}


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> dict[str, str]:
    root = tmp_path_factory.mktemp("pack")
    make_pack(root / "pack", sizes=SIZES, shape=(32, 32))
    return nano | RECIPE | {"dataset": "folder", "data.root": str(root / "pack"), "data.cache": str(root / "cache")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, cell: dict[str, str]) -> Path:
    """The results of one process for each of `METHODS`."""
    folder = tmp_path_factory.mktemp("alone")
    done = call("-m", *words(cell, method=",".join(METHODS)), cwd=folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, cell: dict[str, str]) -> Path:
    """The results of two processes for each of `METHODS`, one after the other in one command."""
    folder = tmp_path_factory.mktemp("together")
    done = call("-m", *words(cell | TOGETHER, method=",".join(METHODS)), cwd=folder)
    assert done.code == 0, done.err
    return folder


def finished(folder: Path, method: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    (path,) = (folder / "results/records").rglob(f"{method}/*/*.json")
    return read_record(path), load_file(path.with_suffix(".safetensors"))


def same_experiment(one: Path, other: Path, method: str) -> None:
    """In float32, sums in another order differ by about 1e-7 of a value. Adam divides gradients by their size, so that
    grows to about 1e-6 in these dozen steps."""
    (record, tensors), (other_record, other_tensors) = finished(one, method), finished(other, method)
    assert other_record["hash"] == record["hash"] and other_record["metrics"] == record["metrics"]
    assert other_record["curves"].keys() == record["curves"].keys()
    for name, curve in record["curves"].items():
        assert other_record["curves"][name] == pytest.approx(curve, abs=5e-6)
    assert other_tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        apart = (other_tensors[name] - tensor).abs()
        if name.endswith(("qkv.bias", "qkv.base.bias")):
            # the bias of keys has no gradient (softmax does not see it): Adam moves it by rounding errors
            apart = torch.cat([part for place, part in zip("qkv", apart.chunk(3), strict=True) if place != "k"])
        assert apart.max() < 1e-5, name


@pytest.mark.slow
def test_two_processes_do_what_one_does_and_mirror_one_run(
    cell: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Under `literature`, so that both score each image once after every epoch."""
    options = (
        cell
        | {"method": "lora", "protocol": "literature", "trainer.eval_batch_size": "19", "logger": "wandb"}
        | {"logger.dir": "out"}
    )
    for name, more in (("one", {}), ("two", TOGETHER | {"trainer.progress": "lines"})):
        (tmp_path / name).mkdir()
        done = call(*words(options | more), cwd=tmp_path / name)
        assert done.code == 0, done.err
    same_experiment(tmp_path / "one", tmp_path / "two", "lora")
    lines = [line for line in capfd.readouterr().err.splitlines() if ", step " not in line]  # on a busy machine
    assert len(lines) == EPOCHS and all(f"epoch {n}/{EPOCHS}, loss" in line for n, line in enumerate(lines, 1))
    record = finished(tmp_path / "two", "lora")[0]
    assert record["hardware"]["processes"] == 2 and record["cost"]["peak_memory_bytes"] > 1e8
    assert finished(tmp_path / "one", "lora")[0]["hardware"]["processes"] == 1
    (folder,) = offline_folders(tmp_path / "two/out")
    rows = read_run(folder).metrics()
    curves = record["curves"]
    for name, curve in (("train/loss", curves["train_loss"]), ("test/top1", curves["test_top1"])):
        assert [row[name] for row in rows if name in row] == pytest.approx(curve, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_parameter(method: str, alone: Path, together: Path) -> None:
    same_experiment(alone, together, method)
    left = [path for path in (together / "results").rglob("*") if path.is_file() and "records" not in path.parts]
    assert not left


AT_A_TERMINAL = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('aoft_bench', run_name='__main__', alter_sys=True)"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


def start(options: dict[str, str], folder: Path) -> "subprocess.Popen[str]":
    """Start a command in a process of its own, and wait for its first checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, *words(options)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not list((folder / "results").rglob("*.ckpt")):
        if process.poll() is not None:
            raise AssertionError(process.communicate()[1])
        time.sleep(0.02)
    return process


def workers(parent: int) -> dict[int, int]:
    """Process ids of the workers of `parent`, by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, state = (path / "cmdline").read_text(), (path / "stat").read_text().rpartition(")")[2].split()
            if "aoft_bench.experiments.ddp_worker" in command and int(state[1]) == parent and state[0] != "Z":
                variables = dict(v.split("=", 1) for v in (path / "environ").read_text().split("\0") if "=" in v)
                found[int(variables["LOCAL_RANK"])] = int(path.name)
        except (OSError, ValueError):
            continue  # ended meanwhile
    return found


def gone(pids: list[int]) -> bool:
    """Whether none of the processes is there any more, within ten seconds."""
    for _ in range(100):
        if not any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text() for pid in pids):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda sent: sent.name)
def test_a_signal_ends_all_processes_and_keeps_the_last_epoch(
    sent: signal.Signals, cell: dict[str, str], tmp_path: Path
) -> None:
    process = start(cell | TOGETHER | {"method": "lora", "recipe.epochs": "5000"}, tmp_path)
    try:
        pids = workers(process.pid)
        process.send_signal(sent)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert sorted(pids) == [0, 1] and gone(list(pids.values()))
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[sent]
    assert "Traceback" not in stderr and len(stderr.strip().splitlines()) == (sent != signal.SIGKILL)
    assert len(list((tmp_path / "results/unfinished").rglob("*.ckpt"))) == 1
    assert not list((tmp_path / "results").rglob("*.json")) or sent == signal.SIGKILL


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_dies_ends_all_and_the_run_goes_on(lost: int, cell: dict[str, str], tmp_path: Path) -> None:
    """With two processes, bit for bit, with dropout too; with one process, within rounding."""
    dropout = {"recipe.drop_path": "0.3", "recipe.mlp_dropout": "0.1"} if lost else {}
    again = TOGETHER if lost else {}
    options = cell | dropout | {"method": "lora", "recipe.epochs": "12"}
    process = start(options | TOGETHER, tmp_path)
    try:
        pids = workers(process.pid)
        os.kill(pids[lost], signal.SIGKILL)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2 and gone(list(pids.values()))
    (line,) = stderr.strip().splitlines()
    assert f"process {lost} of 2 (from 0) was ended by SIGKILL" in line and "goes on from there" in line
    assert not list((tmp_path / "results/records").rglob("*.json"))
    done = call(*words(options | again), cwd=tmp_path)
    assert done.code == 0, done.err
    assert finished(tmp_path, "lora")[0]["cost"]["resumed"] == 1
    (tmp_path / "whole").mkdir()
    assert call(*words(options | again), cwd=tmp_path / "whole").code == 0
    shutil.move(tmp_path / "results", tmp_path / "resumed/results")
    if not lost:
        same_experiment(tmp_path / "whole", tmp_path / "resumed", "lora")
        return
    (record, tensors), (mine, my_tensors) = (finished(tmp_path / name, "lora") for name in ("whole", "resumed"))
    assert mine["curves"] == record["curves"] and mine["metrics"] == record["metrics"]
    assert all(torch.equal(my_tensors[name], tensor) for name, tensor in tensors.items())


@pytest.mark.slow
def test_an_error_of_all_processes_is_one_line(cell: dict[str, str], tmp_path: Path) -> None:
    done = call(*words(cell | TOGETHER | {"method": "lora", "recipe.lr": "1e30"}), cwd=tmp_path)
    assert done.code == 2
    (line,) = done.err.strip().splitlines()
    assert line.startswith("aoft_bench: the training loss is nan in epoch") and "recipe.lr=1e+30 is too high" in line
    assert not list((tmp_path / "results/records").rglob("*.json"))


@pytest.mark.slow
def test_an_error_of_one_process_ends_the_others(cell: dict[str, str], tmp_path: Path) -> None:
    """Only the first process writes; the second waits for it."""
    assert call(*words(cell | {"dry_run": "true"}), cwd=tmp_path).code == 0  # prepares the images
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # bytes; a checkpoint of LoRA has 300,000
    try:
        done = call(*words(cell | TOGETHER | {"method": "lora"}), cwd=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.code == 2
    (line,) = done.err.strip().splitlines()
    assert line.startswith("aoft_bench: cannot write ") and ".ckpt: " in line and "results.root=DIR" in line
    (failure,) = (tmp_path / "results/failures").rglob("*.json")
    assert read_notes(failure)["explained"]
    assert not list((tmp_path / "results").rglob("*.ckpt*"))


def test_a_worker_refuses_to_train_what_the_record_does_not_say(cell: dict[str, str], tmp_path: Path) -> None:
    """Here the images or the weights changed between the start of the command and that of the worker."""
    tree = config_of(*words(cell | TOGETHER)).as_dict()
    job = {"config": tree, "hash": "0123456789", "code": code_digest(), "rank": 1, "world_size": 2, "logged": False}
    with pytest.raises(UserError, match="images or the weights were changed after this command began"):
        _train(job, lambda message: None)


def test_no_devices_are_refused(cell: dict[str, str], tmp_path: Path) -> None:
    done = call(*words(cell | TOGETHER | {"trainer.devices": "0"}), cwd=tmp_path)
    assert done.code == 2 and "trainer.devices: got 0, must be at least 1" in done.err
    assert len(done.err.strip().splitlines()) == 1
