"""Records that may not be compared: each is named with its reason and left out, the others are still used."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from record_cases import record, write

from aoft_bench.results.collect import collect

Edit = Callable[[dict[str, Any]], None]


def rewrite(path: Path, edit: Edit) -> None:
    made = json.loads(path.read_text())
    edit(made)
    path.write_text(json.dumps(made))


def put(*keys: str, value: Any) -> Edit:
    def edit(made: dict[str, Any]) -> None:
        node = made
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return edit


def test_what_a_run_writes_is_kept(tmp_path: Path) -> None:
    paths = [write(tmp_path, record(60.0)), write(tmp_path, record(50.0, "svhn", seed=3))]
    found = collect(tmp_path)
    assert found.paths == paths and not found.left_out
    assert [made["seed"] for made in found.records] == [0, 3]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (put("schema", value=2), "has schema 2, this version reads 1"),
        (put("schema", value=0), "has schema 0"),
        (put("metrics", "top1", value=61.0), "metrics.top1 is 61, but 6,000 of 10,000 are right"),
        (put("metrics", "correct", value=6100), "metrics.top1 is 60, but 6,100 of 10,000 are right"),
        (put("metrics", "total", value=0), "0 are right"),
        (put("metrics", "top1", value=math.nan), "metrics.top1 is not a finite number"),
        (put("metrics", "top1", value=None), "metrics.top1 is None"),
        (put("curves", value={"train_loss": [0.5, math.inf]}), "curves.train_loss (2) is not a finite number"),
        (put("curves", value=None), "curves is None"),
        (put("config", "recipe", "lr", value=math.nan), "config holds a number that is not finite"),
        (put("config", "recipe", "lr", value=1.0), "is that of its configuration, data and weights"),
        (put("config", "method", "rank", value=9), "is that of its configuration, data and weights"),
        (put("weights", "sha256", value="b" * 64), "is that of its configuration, data and weights"),
        (put("data", "fingerprint", value="others"), "is that of its configuration, data and weights"),
        (put("precision", value="bf16"), "is that of its configuration, data and weights"),
        (put("hash", value="0123456789"), "its hash is 0123456789"),
        (put("metrics", "split", value="val200"), "metrics.split is 'val200', but protocol clean scores test"),
        (put("protocol", "name", value="literature"), "protocol.name is 'literature', but 'clean' in its config"),
        (put("seed", value=1), "seed is 1, but 0 in its configuration"),
        (put("method", value="aoft"), "method is 'aoft', but 'lora' in its configuration"),
        (put("dataset", value="imagenet"), "dataset is 'imagenet', but 'cifar100' in its configuration"),
        (lambda made: made["config"]["recipe"].pop("warmup_epochs"), "config.recipe.warmup_epochs is missing"),
        (lambda made: made["data"].pop("official"), "data.official is missing"),
        (lambda made: made.pop("hardware"), "hardware is missing"),
        (put("data", "mean", value=[0.5, 0.5]), "data.mean is [0.5, 0.5]; the record is damaged"),
        (put("data", "std", value=["a", 0.5, 0.5]), "data.std (1) is 'a'"),
        (put("metrics", value={"split": "test", "top1": True, "correct": 1, "total": 100}), "metrics.top1 is True"),
        (put("metrics", "best_test_epoch_top1", value="x"), "metrics.best_test_epoch_top1 is 'x'"),
        (put("curves", value={"test_top1": "abc"}), "curves.test_top1 is 'abc'"),
        (put("curves", value={"train_loss": [0.5, None]}), "curves.train_loss (2) is None"),
        (put("cost", "peak_memory_bytes", value="much"), "cost.peak_memory_bytes is 'much'"),
        (put("hardware", "processes", value="two"), "hardware.processes is 'two'"),
        (put("versions", value=None), "versions is None"),
        (put("parameters", "trained", value=-5), "parameters.trained is -5"),
        (put("parameters", "trained_with_head", value=7), "parameters.trained_with_head is 7, but 294,912 + 76,900"),
    ],
)
def test_an_edited_or_damaged_record_is_left_out(tmp_path: Path, edit: Edit, reason: str) -> None:
    good, bad = write(tmp_path, record(50.0, "svhn")), write(tmp_path, record(60.0))
    rewrite(bad, edit)
    found = collect(tmp_path)
    assert found.paths == [good]
    (left,) = found.left_out
    assert left.path == bad and reason in left.reason
    assert str(bad) not in left.reason and "\n" not in left.reason


def test_a_task_of_another_version_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, record(60.0, "imagenet"))
    assert "its dataset 'imagenet' is no task of this version" in collect(tmp_path).left_out[0].reason


def test_a_best_epoch_that_its_curve_does_not_show_is_left_out(tmp_path: Path) -> None:
    metrics = {"split": "test", "top1": 60.0, "correct": 60, "total": 100, "best_test_epoch_top1": 65.0}
    protocol = {"protocol__name": "literature", "config__protocol__name": "literature"}
    write(tmp_path, record(60.0, metrics=metrics, curves={"test_top1": [65.0, 60.0]}, **protocol))
    write(tmp_path, record(60.0, seed=1, metrics=metrics, curves={"test_top1": [64.0, 60.0]}, **protocol))
    found = collect(tmp_path)
    assert [made["seed"] for made in found.records] == [0]
    assert "best of its curve is 64" in found.left_out[0].reason


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', "\ufeff{}", "null"])
def test_a_file_that_is_no_record_is_left_out(tmp_path: Path, text: str) -> None:
    good = write(tmp_path, record(50.0, "svhn"))
    bad = good.with_name("seed0-aaaaaaaaaa.json")
    bad.write_text(text)
    found = collect(tmp_path)
    assert found.paths == [good] and [left.path for left in found.left_out] == [bad]


def test_a_truncated_record_is_left_out(tmp_path: Path) -> None:
    bad = write(tmp_path, record(50.0))
    bad.write_bytes(bad.read_bytes()[:200])
    found = collect(tmp_path)
    assert not found.records and "is not a whole record" in found.left_out[0].reason


def test_the_trace_of_a_failed_run_is_no_result(tmp_path: Path) -> None:
    path = write(tmp_path, record(50.0))
    path.rename(path.with_suffix(".failed.json"))
    found = collect(tmp_path)
    assert not found.records and "a run that failed" in found.left_out[0].reason


def test_a_record_outside_its_place_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, record(50.0))
    path.rename(tmp_path / "records" / "mine.json")
    found = collect(tmp_path)
    assert not found.records and found.left_out[0].reason.startswith(f"is not in its place, {path}")


def test_of_a_cell_in_two_files_the_one_in_its_place_is_used_and_both_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, record(50.0))
    copy = path.with_name("copy.json")
    copy.write_bytes(path.read_bytes())
    found = collect(tmp_path)
    assert found.paths == [path]
    (left,) = found.left_out
    assert left.path == copy and f"the one of {path} is used" in left.reason


def test_of_a_cell_in_two_wrong_places_none_is_used(tmp_path: Path) -> None:
    path = write(tmp_path, record(50.0))
    copies = [path.with_name(name) for name in ("a.json", "b.json")]
    for copy in copies:
        copy.write_bytes(path.read_bytes())
    path.unlink()
    found = collect(tmp_path)
    assert not found.records
    assert [left.path for left in found.left_out] == copies
    assert str(copies[1]) in found.left_out[0].reason and str(copies[0]) in found.left_out[1].reason
