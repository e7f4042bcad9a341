"""A run that was stopped goes on to the same weights, bit for bit, as one that was not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import call, words
from packs import make_pack
from safetensors.torch import load_file

import aoft_bench.experiments.experiment as experiment_module
from aoft_bench.records.files import read_record
from aoft_bench.training import checkpoint as checkpoint_module
from aoft_bench.training.module import FineTuning

EPOCHS = 4
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
    """What no code of ours catches, as it could not catch kill -9."""


@contextmanager
def killed_in_step(number: int) -> Iterator[None]:
    """Let the process "die" in the training step `number`, counted from 0."""
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
def pack(tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> dict[str, str]:
    root = tmp_path_factory.mktemp("pack")
    make_pack(root / "pack", sizes={"train800": 24, "val200": 8, "test": 20}, shape=(32, 32))
    mine = {"dataset": "folder", "data.root": str(root / "pack"), "data.cache": str(root / "cache")}
    return nano | RECIPE | mine


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, pack: dict[str, str]) -> Any:
    """(record, trained tensors) of a run that nobody stops; each made once."""
    made: dict[str, Any] = {}

    def one(options: dict[str, str]) -> Any:
        key = " ".join(words(options))
        if key not in made:
            folder = tmp_path_factory.mktemp("undisturbed")
            result = call(*words(pack | options), cwd=folder)
            assert result.code == 0, result.err
            made[key] = finished(folder)
        return made[key]

    return one


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


def stop_and_go_on(folder: Path, options: dict[str, str], *stops: Any) -> Any:
    for stop in stops:
        with stop, pytest.raises(Killed):
            call(*words(options), cwd=folder)
        assert not list((folder / "results/records").rglob("*.json"))
    return call(*words(options), cwd=folder)


@pytest.mark.parametrize(
    "step", [1, STEPS, STEPS + 1, 2 * STEPS - 1, EPOCHS * STEPS - 1], ids=lambda step: f"step{step}"
)
def test_killed_once(step: int, pack: dict[str, str], undisturbed: Any, tmp_path: Path) -> None:
    result = stop_and_go_on(tmp_path, pack | {"method": "lora"}, killed_in_step(step))
    assert result.code == 0
    kept = step // STEPS
    assert (f"going on after epoch {kept}" in result.err) == bool(kept)
    same(tmp_path, undisturbed({"method": "lora"}))
    assert finished(tmp_path)[0]["cost"]["resumed"] == bool(kept)
    assert not [path for path in (tmp_path / "results/unfinished").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "method", ["full", "aoft", "aoft_without_lambda", "adapter", "convpass", "ssf", "peft", "vpt_deep", "linear"]
)
def test_every_kind_of_method(method: str, pack: dict[str, str], undisturbed: Any, tmp_path: Path) -> None:
    result = stop_and_go_on(tmp_path, pack | {"method": method}, killed_in_step(STEPS + 2), killed_in_step(STEPS + 1))
    assert result.code == 0
    same(tmp_path, undisturbed({"method": method}))
    assert finished(tmp_path)[0]["cost"]["resumed"] == 2


@pytest.mark.parametrize("protocol", ["tune", "literature"])
def test_curves_of_what_is_scored_go_on(protocol: str, pack: dict[str, str], undisturbed: Any, tmp_path: Path) -> None:
    options = {"method": "aoft", "protocol": protocol}
    assert stop_and_go_on(tmp_path, pack | options, killed_in_step(2 * STEPS)).code == 0
    same(tmp_path, undisturbed(options))
    curves = finished(tmp_path)[0]["curves"]
    assert {len(curve) for curve in curves.values()} == {EPOCHS} and len(curves) == 2


def test_killed_while_scoring_does_not_train_again(pack: dict[str, str], undisturbed: Any, tmp_path: Path) -> None:
    options = pack | {"method": "lora"}
    with killed_while_scoring(), pytest.raises(Killed):
        call(*words(options), cwd=tmp_path)
    with killed_in_step(0):  # it would die if it took a step
        result = call(*words(options), cwd=tmp_path)
    assert result.code == 0, result.err
    same(tmp_path, undisturbed({"method": "lora"}))


def test_a_checkpoint_holds_no_frozen_weight(pack: dict[str, str], tmp_path: Path) -> None:
    with killed_in_step(STEPS), pytest.raises(Killed):
        call(*words(pack | {"method": "lora"}), cwd=tmp_path)
    (path,) = (tmp_path / "results/unfinished").rglob("*.ckpt")
    state = torch.load(path, weights_only=True)["state_dict"]
    assert {name for name in state if ".updates." not in name} == {"model.head.weight", "model.head.bias"}


@pytest.mark.parametrize("what", ["other code", "damaged"])
def test_an_unusable_checkpoint_is_said_and_left(
    what: str, pack: dict[str, str], undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = pack | {"method": "lora"}
    with killed_in_step(STEPS + 1), pytest.raises(Killed):
        call(*words(options), cwd=tmp_path)
    (path,) = (tmp_path / "results/unfinished").rglob("*.ckpt")
    if what == "damaged":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        monkeypatch.setattr(checkpoint_module, "code_digest", lambda: "0123456789abcdef")
    result = call(*words(options), cwd=tmp_path)
    assert result.code == 0
    told = "cannot be read" if what == "damaged" else "is of other code"
    assert "starting again" in result.err and told in result.err
    same(tmp_path, undisturbed({"method": "lora"}))
    assert finished(tmp_path)[0]["cost"]["resumed"] == 0


def test_a_full_disk_in_the_middle_loses_nothing(
    pack: dict[str, str], undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = pack | {"method": "lora"}
    write, written = checkpoint_module.write_atomically, []

    def full(path: Path, fill: Any) -> None:
        def no_space(partial: Path) -> None:
            partial.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        written.append(path)
        write(path, no_space if len(written) == 3 else fill)

    monkeypatch.setattr(checkpoint_module, "write_atomically", full)
    result = call(*words(options), cwd=tmp_path)
    assert result.code == 2
    assert "the disk is full" in result.err and "Traceback" not in result.err
    (failure,) = (tmp_path / "results/failures").rglob("*.json")
    assert "the disk is full" in json.loads(failure.read_text())["error"]
    assert not list((tmp_path / "results").rglob("*.partial"))
    monkeypatch.undo()
    result = call(*words(options), cwd=tmp_path)
    assert result.code == 0 and "going on after epoch 2" in result.err
    same(tmp_path, undisturbed({"method": "lora"}))
    assert not failure.exists()
