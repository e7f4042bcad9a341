"""A run that was stopped goes on to the same weights, bit for bit, as one that was not."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result, call, words
from safetensors.torch import load_file

import aoft_bench.experiments.experiment as experiment_module
from aoft_bench.records.files import read_record
from aoft_bench.training import checkpoint as checkpoint_module
from aoft_bench.training.module import FineTuning

EPOCHS = 3
# 24 + 8 images in batches of 12: three steps an epoch, the last of them smaller; every kind of dropout, and mirroring
RECIPE = {
    "recipe.epochs": str(EPOCHS),
    "recipe.batch_size": "12",
    "recipe.drop_path": "0.3",
    "recipe.mlp_dropout": "0.1",
    "recipe.flip": "true",
}
STEPS = 3


class Killed(BaseException):
    """An exception that no code of the package catches: it ends a run as kill -9 does."""


@contextmanager
def killed_in_step(number: int) -> Iterator[None]:
    """End the run in training step `number`, counted from 0."""
    step, seen = FineTuning.training_step, [0]

    def counted(self: FineTuning, *batch: Any) -> Any:
        if seen[0] == number:
            raise Killed
        seen[0] += 1
        return step(self, *batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuning, "training_step", counted)
        yield


@contextmanager
def killed_while_scoring() -> Iterator[None]:
    def score(*_: Any, **__: Any) -> Any:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment_module, "count_correct", score)
        yield


@pytest.fixture(scope="module")
def pack(nano_pack: dict[str, str]) -> dict[str, str]:
    return nano_pack | RECIPE


@pytest.fixture(scope="module")
def lora(pack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(record, trained tensors) of a run of LoRA that was not stopped."""
    return not_stopped(pack | {"method": "lora"}, tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="module")
def stopped(pack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of LoRA that was killed in its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    with killed_in_step(STEPS + 1), pytest.raises(Killed):
        call(*words(pack | {"method": "lora"}), cwd=folder)
    return folder


def not_stopped(options: dict[str, str], folder: Path) -> Any:
    result = call(*words(options), cwd=folder)
    assert result.code == 0, result.err
    return finished(folder)


def finished(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    (path,) = (folder / "results/records").rglob("*.json")
    return read_record(path), load_file(path.with_suffix(".safetensors"))


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in ("cost", "finished")}


def same(folder: Path, expected: Any) -> None:
    record, tensors = finished(folder)
    assert without_times(record) == without_times(expected[0])
    assert tensors.keys() == expected[1].keys()
    assert all(torch.equal(tensor, expected[1][name]) for name, tensor in tensors.items())


def stop_and_go_on(folder: Path, options: dict[str, str], *stops: Any) -> Result:
    for stop in stops:
        with stop, pytest.raises(Killed):
            call(*words(options), cwd=folder)
        assert not list((folder / "results/records").rglob("*.json"))
    return call(*words(options), cwd=folder)


@pytest.mark.parametrize("step", [1, STEPS, pytest.param(EPOCHS * STEPS - 1, marks=pytest.mark.slow)])
def test_killed_once(step: int, pack: dict[str, str], lora: Any, tmp_path: Path) -> None:
    result = stop_and_go_on(tmp_path, pack | {"method": "lora"}, killed_in_step(step))
    assert result.code == 0
    epochs_kept = step // STEPS
    assert (f"going on after epoch {epochs_kept}" in result.err) == bool(epochs_kept)
    same(tmp_path, lora)
    assert finished(tmp_path)[0]["cost"]["resumed"] == bool(epochs_kept)
    assert not [path for path in (tmp_path / "results/unfinished").rglob("*") if path.is_file()]


# the backbone's own parameters, inserted ones with constants beside them, prompts, layers of another library
@pytest.mark.parametrize(
    "method", ["full", "aoft_without_lambda", *(pytest.param(n, marks=pytest.mark.slow) for n in ("vpt_deep", "peft"))]
)
def test_killed_twice_with_every_kind_of_parameter(method: str, pack: dict[str, str], tmp_path: Path) -> None:
    """Under `literature`, so that the curve of accuracies goes on too."""
    options = pack | {"method": method, "protocol": "literature"}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    result = stop_and_go_on(tmp_path / "parts", options, killed_in_step(STEPS + 2), killed_in_step(STEPS + 1))
    assert result.code == 0
    same(tmp_path / "parts", not_stopped(options, tmp_path / "whole"))
    record = finished(tmp_path / "parts")[0]
    assert record["cost"]["resumed"] == 2
    assert {name: len(curve) for name, curve in record["curves"].items()} == {"train_loss": EPOCHS, "test_top1": EPOCHS}


def test_killed_while_scoring_does_not_train_again(pack: dict[str, str], lora: Any, tmp_path: Path) -> None:
    options = pack | {"method": "lora"}
    with killed_while_scoring(), pytest.raises(Killed):
        call(*words(options), cwd=tmp_path)
    with killed_in_step(0):  # a training step would end the run
        result = call(*words(options), cwd=tmp_path)
    assert result.code == 0, result.err
    same(tmp_path, lora)


@pytest.mark.parametrize("damage", ["cut off", "of other code"])
def test_an_unusable_checkpoint_is_reported_and_not_used(
    damage: str, pack: dict[str, str], lora: Any, stopped: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    (path,) = (tmp_path / "results/unfinished").rglob("*.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    frozen = {name for name in checkpoint["state_dict"] if ".updates." not in name}
    assert frozen == {"model.head.weight", "model.head.bias"}, "a checkpoint holds no frozen weight"
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        checkpoint["made_by"]["code"] = "0123456789abcdef"
        torch.save(checkpoint, path)
    result = call(*words(pack | {"method": "lora"}), cwd=tmp_path)
    assert result.code == 0
    reason = "cannot be read" if damage == "cut off" else "is of other code"
    assert "starting again" in result.err and reason in result.err
    same(tmp_path, lora)
    assert finished(tmp_path)[0]["cost"]["resumed"] == 0


def test_a_full_disk_in_the_middle_loses_nothing(
    pack: dict[str, str], lora: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = pack | {"method": "lora"}
    write, written = checkpoint_module.write_atomically, []

    def write_until_full(path: Path, fill: Any) -> None:
        def no_space(partial: Path) -> None:
            partial.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        written.append(path)
        write(path, no_space if len(written) == 2 else fill)

    monkeypatch.setattr(checkpoint_module, "write_atomically", write_until_full)
    result = call(*words(options), cwd=tmp_path)
    assert result.code == 2
    assert "the disk is full" in result.err and "Traceback" not in result.err
    (failure,) = (tmp_path / "results/failures").rglob("*.json")
    assert "the disk is full" in json.loads(failure.read_text())["error"]
    assert not list((tmp_path / "results").rglob("*.partial"))
    monkeypatch.undo()
    result = call(*words(options), cwd=tmp_path)
    assert result.code == 0 and "going on after epoch 1" in result.err
    same(tmp_path, lora)
    assert not failure.exists()
