"""Whole cells through the command line: what is recorded, when test is opened, what is done again and what is not."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, Result, call, words
from packs import make_pack
from safetensors.torch import load_file, save_file

import aoft_bench.experiments.run as run_module
from aoft_bench import methods
from aoft_bench.config.schema import from_dict
from aoft_bench.data.prepared_task import PreparedTask
from aoft_bench.records.files import predictions_path, read_record
from aoft_bench.records.identity import cell_hash, identity
from aoft_bench.records.predictions import read_predictions, write_predictions

SIZES = {"train800": 24, "val200": 8, "test": 20}


@dataclass
class Done:
    """A finished cell: its options, the folder where it ran, and when it trained and opened the test split."""

    options: dict[str, str]
    folder: Path
    result: Result
    events: list[str]

    @property
    def path(self) -> Path:
        (path,) = (self.folder / "results").rglob("*.json")
        return path

    @property
    def record(self) -> dict[str, Any]:
        return read_record(self.path)


def watched(*arguments: str, cwd: Path) -> tuple[Result, list[str]]:
    """Run a command. Events: when training starts and ends, and when the test split is opened."""
    events: list[str] = []
    fit, open_test = run_module.fit, PreparedTask.open_test

    def noting_fit(*args: Any, **kwargs: Any) -> Any:
        events.append("train")
        result = fit(*args, **kwargs)
        events.append("trained")
        return result

    def noting_open_test(self: PreparedTask) -> Any:
        events.append("test")
        return open_test(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "fit", noting_fit)
        patch.setattr(PreparedTask, "open_test", noting_open_test)
        return call(*arguments, cwd=cwd), events


@pytest.fixture(scope="module")
def linear_probe(tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> tuple[Path, dict[str, str]]:
    """A folder with a small pack in it, and the options of a cell that trains a linear probe on that."""
    root = tmp_path_factory.mktemp("probe")
    make_pack(root / "pack", sizes=SIZES, shape=(32, 32))
    mine = {"dataset": "folder", "method": "linear", "data.root": str(root / "pack"), "data.cache": str(root / "cache")}
    return root, nano | mine


def finish(root: Path, name: str, options: dict[str, str]) -> Done:
    folder = root / name
    folder.mkdir()
    result, events = watched(*words(options), cwd=folder)
    assert result.code == 0, result.err
    return Done(options, folder, result, events)


@pytest.fixture(scope="module")
def digits(linear_probe: tuple[Path, dict[str, str]]) -> Done:
    root, options = linear_probe
    return finish(root, "digits", options | {"dataset": "digits", "method": "lora", "data.root": "null"})


@pytest.fixture(scope="module")
def literature(linear_probe: tuple[Path, dict[str, str]]) -> Done:
    root, options = linear_probe
    change = {"protocol": "literature", "recipe.epochs": "3", "recipe.lr": "3e-2"}
    return finish(root, "literature", options | change)


@pytest.fixture(scope="module")
def tuned(linear_probe: tuple[Path, dict[str, str]]) -> Done:
    root, options = linear_probe
    return finish(root, "tune", options | {"protocol": "tune", "recipe.epochs": "2"})


def test_the_record_says_what_was_measured(digits: Done, nano_weights: Path) -> None:
    record = digits.record
    assert digits.path.parent == digits.folder / "results/records/vit_nano/lora/digits"
    assert digits.path.name == f"seed0-{record['hash']}.json"
    assert record["protocol"] == {"name": "clean", "train": "train800val200", "score": "test", "epoch": "last"}
    metrics = record["metrics"]
    assert (metrics["split"], metrics["total"]) == ("test", 797)
    assert metrics["top1"] == 100 * metrics["correct"] / 797
    trained, head = 6 * 8 * 2 * (128 + 128), 128 * 10 + 10
    counts = record["parameters"]
    assert (counts["trained"], counts["head"], counts["trained_with_head"]) == (trained, head, trained + head)
    assert counts["backbone"] == sum(t.numel() for t in load_file(nano_weights).values())
    assert record["data"]["sizes"] == {"train800": 800, "val200": 200, "test": 797}
    assert len(record["data"]["fingerprint"]) == 64 and record["data"]["copies"] == 0
    assert record["weights"]["sha256"] == hashlib.sha256(nano_weights.read_bytes()).hexdigest()
    cost = record["cost"]
    assert all(cost[name] > 0 for name in ("train_seconds", "train_images_per_second", "peak_memory_bytes"))
    trained_file = digits.path.with_suffix(".safetensors")
    assert cost["trained_file_bytes"] == trained_file.stat().st_size
    assert record["trained_sha256"] == hashlib.sha256(trained_file.read_bytes()).hexdigest()
    saved = load_file(trained_file)
    assert sum(t.numel() for t in saved.values()) == counts["trained_with_head"]
    assert {name for name in saved if ".updates." not in name} == {"head.weight", "head.bias"}
    predictions = predictions_path(digits.path)
    assert record["predictions_sha256"] == hashlib.sha256(predictions.read_bytes()).hexdigest()
    assert not list(digits.folder.rglob("*.partial"))
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert record["hardware"]["device"] == "cpu" and record["hardware"]["threads"] == 1
    assert set(record["git"]) == {"commit", "dirty"}
    assert record["config"]["method"] == {"name": "lora", "rank": 8, "alpha": 8.0, "targets": ["q", "v"]}
    assert record["command"] == "python -m aoft_bench " + " ".join(words(digits.options))
    assert f"{metrics['top1']:.2f} %" in digits.result.out
    assert digits.events == ["train", "trained", "test"], "the test split is opened once, after training"
    assert set(record["curves"]) == {"train_loss"} and "best_test_epoch" not in metrics


def test_evaluate_reproduces_the_number_and_notices_another(literature: Done, tmp_path: Path) -> None:
    result = call("evaluate", str(literature.path), cwd=literature.folder)
    assert result.code == 0, result.err
    record = literature.record
    correct, total = record["metrics"]["correct"], SIZES["test"]
    assert result.out.count(f"({correct} of {total})") == 2 and result.out.endswith("equal\n")
    record["metrics"] |= {"correct": correct + 1, "top1": 100 * (correct + 1) / total}
    copy = tmp_path / literature.path.name
    copy.write_text(json.dumps(record))
    copy.with_suffix(".safetensors").write_bytes(literature.path.with_suffix(".safetensors").read_bytes())
    result = call("evaluate", str(copy), cwd=literature.folder)
    assert result.code == 1 and "NOT equal" in result.out


def test_predictions_are_kept_and_evaluate_compares_them(literature: Done, tmp_path: Path) -> None:
    record = literature.record
    kept = read_predictions(literature.path, record)
    assert kept.logits is None and int(kept.correct.sum()) == record["metrics"]["correct"]
    result = call("evaluate", str(literature.path), cwd=literature.folder)
    equal = f"predictions of 0 of {SIZES['test']} images are of another class; their probabilities differ by at most 0"
    assert result.code == 0 and equal in result.out
    copy = tmp_path / literature.path.name
    trained = literature.path.with_suffix(".safetensors")
    copy.with_suffix(".safetensors").write_bytes(trained.read_bytes())
    copy.write_text(json.dumps(record))
    result = call("evaluate", str(copy), cwd=literature.folder)
    assert result.code == 0 and "predictions are not compared: their file is not beside the record" in result.out
    wrong = int(np.flatnonzero(~kept.correct)[0])
    third = next(c for c in range(record["data"]["classes"]) if c not in (kept.label[wrong], kept.predicted[wrong]))
    predicted = kept.predicted.copy()
    predicted[wrong] = third  # as many are right
    other = dataclasses.replace(kept, predicted=predicted)
    record["predictions_sha256"] = write_predictions(copy, other, record["data"]["manifest"])
    copy.write_text(json.dumps(record))
    result = call("evaluate", str(copy), cwd=literature.folder)
    assert result.code == 1 and "predictions of 1 of" in result.out and "NOT equal" in result.out


def test_logits_are_kept_where_asked_and_a_forced_run_may_remove_all(
    linear_probe: tuple[Path, dict[str, str]],
) -> None:
    root, options = linear_probe
    done = finish(root, "logits", options | {"results.predictions": "logits"})
    kept, record = read_predictions(done.path, done.record), done.record
    assert kept.logits is not None and kept.logits.shape == (SIZES["test"], record["data"]["classes"])
    exponentials = np.exp(kept.logits.astype(np.float64))
    found = np.take_along_axis(exponentials, kept.label[:, None].astype(int), 1)[:, 0] / exponentials.sum(1)
    assert found == pytest.approx(kept.probability_of_label, abs=2e-3)
    result = call(*words(options), "results.mode=force", "results.predictions=none", cwd=done.folder)
    assert result.code == 0, result.err
    assert not predictions_path(done.path).exists() and "predictions_sha256" not in done.record
    assert done.record["hash"] == record["hash"] and done.record["metrics"] == record["metrics"]


def test_evaluate_takes_only_the_parameters_that_were_saved(literature: Done, tmp_path: Path) -> None:
    copy = tmp_path / literature.path.name
    state = load_file(literature.path.with_suffix(".safetensors"))
    for old, change, text in (
        (False, lambda tensor: tensor * math.nan, "is not what the run saved: its SHA-256 begins with"),
        (False, torch.zeros_like, "is not what the run saved"),
        (True, lambda tensor: tensor * math.nan, "holds NaN or infinite values in 2 tensors"),
        (True, torch.Tensor.half, "do not fit this model: 2 of 2 names, shapes or types differ"),
    ):
        record = literature.record
        if old:
            del record["trained_sha256"]
        copy.write_text(json.dumps(record))
        save_file({name: change(tensor) for name, tensor in state.items()}, copy.with_suffix(".safetensors"))
        result = call("evaluate", str(copy), cwd=literature.folder)
        assert result.code == 2 and text in result.err and len(result.err.splitlines()) == 1
    save_file(state, copy.with_suffix(".safetensors"))
    result = call("evaluate", str(copy), cwd=literature.folder)
    assert result.code == 0 and "has no SHA-256 of its parameters" in result.out and result.out.endswith("equal\n")


def test_a_finished_cell_is_skipped_or_forced_to_the_same_bits(linear_probe: tuple[Path, dict[str, str]]) -> None:
    root, options = linear_probe
    changes = {"method": "aoft", "recipe.epochs": "2", "recipe.drop_path": "0.2", "recipe.mlp_dropout": "0.1"}
    first = finish(root, "force", options | changes | {"recipe.flip": "true"})
    record, before = first.record, first.path.read_bytes()
    result, events = watched(*words(first.options), cwd=first.folder)
    assert result.code == 0 and "done before" in result.out and events == [] and first.path.read_bytes() == before
    saved = load_file(first.path.with_suffix(".safetensors"))
    first.path.with_suffix(".safetensors").unlink()
    result, events = watched(*words(first.options), "results.mode=force", cwd=first.folder)
    assert result.code == 0 and "done before" not in result.out
    assert events == ["train", "trained", "test"]
    again, second = first.record, load_file(first.path.with_suffix(".safetensors"))
    assert again["metrics"] == record["metrics"] and again["curves"] == record["curves"]
    assert saved.keys() == second.keys()
    assert all(torch.equal(saved[name], second[name]) for name in saved)


def test_tune_never_opens_test(tuned: Done) -> None:
    record = tuned.record
    assert tuned.events == ["train", "trained"]
    assert record["protocol"]["train"] == "train800"
    assert (record["metrics"]["split"], record["metrics"]["total"]) == ("val200", SIZES["val200"])
    assert set(record["curves"]) == {"train_loss", "val200_top1"} and len(record["curves"]["val200_top1"]) == 2


def test_literature_records_the_best_epoch_beside_the_last(literature: Done) -> None:
    record = literature.record
    curve, metrics = record["curves"]["test_top1"], record["metrics"]
    assert len(curve) == 3
    assert metrics["best_test_epoch_top1"] == max(curve)
    assert metrics["best_test_epoch"] == 1 + curve.index(max(curve))
    assert metrics["top1"] == pytest.approx(curve[-1], abs=1e-3)
    assert record["protocol"]["epoch"] == "last"
    assert literature.events.count("test") == 1


def test_a_labelled_setting_is_a_row_of_its_own(linear_probe: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    _, options = linear_probe
    label = "method.label=lora_tiny"
    both = call("-m", *words(options | {"method": "lora_matched"}), "method.label=lora_matched,lora_tiny", cwd=tmp_path)
    assert both.code == 0, both.err
    matched, tiny = (tmp_path / f"results/records/vit_nano/{name}/folder" for name in ("lora_matched", "lora_tiny"))
    (one,), (other,) = matched.glob("*.json"), tiny.glob("*.json")
    assert one.name == other.name  # the same cell by another name
    record = read_record(one)
    assert record["method"] == "lora_matched" and record["config"]["method"]["name"] == "lora"
    assert from_dict(record["config"], methods.get).method.label == "lora_matched"
    assert "│ LoRA r=1 " in both.out and "│ lora_tiny" in both.out
    again = call("evaluate", str(one), cwd=tmp_path)
    assert again.code == 0 and "equal" in again.out
    assert call(*words(options | {"method": "lora"}), f"{label}!", cwd=tmp_path).code == 2


def test_the_hash_of_the_default_command_stays() -> None:
    """`python -m aoft_bench` with made-up digests. If it changed, finished cells would not be found again."""
    from test_config import config_of

    assert cell_hash(identity(config_of().as_dict(), fingerprint="f", weights="w", precision="fp32")) == "e095ff93ec"


def test_a_failing_cell_does_not_stop_the_others(linear_probe: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    _, options = linear_probe
    result = call("-m", *words(options), "backbone.img_size=30,32", cwd=tmp_path)
    assert result.code == 2
    assert "backbone.img_size: got 30, must be a multiple of 4" in result.err
    assert "backbone.img_size=30" in result.err.split("]")[0]  # which cell it was
    assert "2 cells: 1 done, 1 failed" in result.err
    assert "Traceback" not in result.err
    (path,) = (tmp_path / "results/records").rglob("*.json")
    assert read_record(path)["config"]["backbone"]["img_size"] == 32


def test_dry_run_needs_neither_data_nor_weights(cli: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a dry run reads nothing")

    monkeypatch.setattr("aoft_bench.backbones.networks.weight_file", forbidden)
    monkeypatch.setattr("aoft_bench.experiments.experiment.prepare", forbidden)
    result = cli("dry_run=true", "dataset=cifar100", "method=aoft")
    assert result.code == 0, result.err
    lines = {line.split("  ")[1]: line for line in result.out.splitlines() if line.startswith("  ")}
    assert " 129,408 " in lines["trained without the head"]
    assert lines["trained with the head"].endswith(f" {129_408 + 76_900:,}")
    assert lines["backbone"].endswith(" 85,798,656")
    assert not list(tmp_path.iterdir())
