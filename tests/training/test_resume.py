"""A run that was stopped goes on to the same weights, bit for bit, as one that was not."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result, call, words
from safetensors.torch import load_file

import aoft_bench.experiments.scoring as scoring_module
from aoft_bench.records.files import read_record
from aoft_bench.training import checkpoint as checkpoint_module
from aoft_bench.training.checkpoint import CheckpointFiles, read_checkpoint, usable_checkpoint
from aoft_bench.training.module import FineTuning
from aoft_bench.utils.errors import UserError

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
        patch.setattr(scoring_module, "predict", score)
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


def test_streamed_images_go_on_to_the_same_weights(
    pack: dict[str, str], lora: Any, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a run whose first epoch read them from the device."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr("aoft_bench.data.loader._room", lambda device: 0)
    monkeypatch.setattr("aoft_bench.data.loader.to_device", None)
    result = call(*words(pack | {"method": "lora"}), cwd=tmp_path)
    assert result.code == 0 and "going on after epoch 1" in result.err
    same(tmp_path, lora)


@pytest.mark.slow
# the backbone's own parameters, inserted ones with constants beside them, prompts, layers of another library, and ones
# that are chosen from training images: one number of them for each neuron, or as many as the images say
@pytest.mark.parametrize(
    ("method", "more"),
    [
        *((name, {}) for name in ("aoft_without_lambda", "full", "vpt_deep", "peft", "gps")),
        ("spt", {"method.budget": "8000", "method.rank": "2"}),
    ],
)
def test_killed_twice_with_every_kind_of_parameter(
    method: str, more: dict[str, str], pack: dict[str, str], tmp_path: Path
) -> None:
    """Under `literature`, so that the curve of accuracies goes on too."""
    options = pack | {"method": method, "protocol": "literature"} | more
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


def test_a_damaged_checkpoint_is_reported_and_not_used(
    pack: dict[str, str], lora: Any, stopped: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    (path,) = (tmp_path / "results/unfinished").rglob("*.ckpt")
    content = bytearray(path.read_bytes())
    at = content.index(read_checkpoint(path)["state_dict"]["model.head.bias"].numpy().tobytes()) + 3
    content[at] ^= 0x40  # an exponent in the head
    path.write_bytes(content)
    result = call(*words(pack | {"method": "lora"}), cwd=tmp_path)
    assert result.code == 0
    (line,) = result.err.splitlines()
    reason = f"the checkpoint {path.relative_to(tmp_path)} is damaged: its SHA-256 does not fit its content"
    assert line.endswith(f"starting again, since {reason}")
    same(tmp_path, lora)
    assert finished(tmp_path)[0]["cost"]["resumed"] == 0


def put(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda checkpoint: checkpoint.update({name: value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("made_by", None), "is of other code and torch and pytorch-lightning"),
        (lambda checkpoint: checkpoint["made_by"].update(code="0123456789abcdef"), "is of other code"),
        (put("cell", "seed1-0123456789"), "is of another cell, seed1-0123456789"),
        (put("state_dict", {}), "does not hold what this run trains"),
        (lambda checkpoint: checkpoint["state_dict"].popitem(), "does not hold what this run trains"),
        (put("optimizer_states", []), "does not hold the optimizer"),
    ],
)
def test_a_checkpoint_goes_on_only_with_what_it_is_of(
    change: Any, reason: str, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where its SHA-256 is right; with torch.save, which writes none, it is damaged whatever it holds."""
    (whole,) = (stopped / "results/unfinished").rglob("*.ckpt")
    path = Path(shutil.copy(whole, tmp_path))
    checkpoint = read_checkpoint(path)
    assert {name for name in checkpoint["state_dict"] if ".updates." not in name} == {
        "model.head.weight",
        "model.head.bias",
    }, "a checkpoint holds no frozen weight"
    shapes = {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}
    assert usable_checkpoint(path, "it", shapes) == path
    assert capsys.readouterr().err == "aoft_bench: it: going on after epoch 1\n"
    change(checkpoint)
    CheckpointFiles().save_checkpoint(checkpoint, path)
    assert usable_checkpoint(path, "it", shapes) is None
    assert capsys.readouterr().err == f"aoft_bench: it: starting again, since the checkpoint {path} {reason}\n"
    torch.save(checkpoint, path)
    assert usable_checkpoint(path, "it", shapes) is None
    assert "is damaged" in capsys.readouterr().err


def test_a_flipped_bit_anywhere_and_a_lost_end_are_found(stopped: Path, tmp_path: Path) -> None:
    (path,) = (stopped / "results/unfinished").rglob("*.ckpt")
    whole, copy = path.read_bytes(), tmp_path / path.name
    for number in range(20):
        content = bytearray(whole)
        content[number * (len(whole) - 1) // 19] ^= 1 << number % 8
        copy.write_bytes(content)
        assert usable_checkpoint(copy, "it", {}, silent=True) is None
    for kept in (0, 10, 32, 1000, len(whole) - 1):
        copy.write_bytes(whole[:kept])
        with pytest.raises(UserError, match="is damaged"):
            read_checkpoint(copy)


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
