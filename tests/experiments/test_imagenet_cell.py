"""A whole cell on ImageNet and its further test sets: each is opened once, after training, and stands in the record."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import call, words
from imagenet_sets import few_classes, make_sets

from aoft_bench.data.prepared_task import PreparedTask
from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imagenet")
    make_sets(root)
    return root


def cell(sets: Path, nano: dict[str, str], cwd: Path, *, code: int = 0, **more: str) -> Any:
    options = nano | {"dataset": "imagenet", "method": "linear", "data.root": str(sets), "data.cache": "cache"}
    done = call(*words(options, **({"data__shots": "2", "recipe__epochs": "2"} | more)), cwd=cwd)
    assert done.code == code, done.err
    return done


def test_the_further_sets_are_scored_once_with_the_trained_weights(
    sets: Path, nano: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_classes(monkeypatch)
    opened: list[str] = []
    real = PreparedTask._read
    monkeypatch.setattr(PreparedTask, "_read", lambda self, split: (opened.append(split), real(self, split))[1])
    done = cell(sets, nano, tmp_path)
    assert opened == ["train800", "test", "v2", "sketch", "a", "r"]
    (path,) = (tmp_path / "results/records").rglob("*.json")
    record = read_record(path)
    shifts = record["metrics"]["shifts"]
    assert {name: (one["total"], one["classes"]) for name, one in shifts.items()} == {
        "v2": (6, 6), "sketch": (6, 6), "a": (4, 2), "r": (4, 2)
    }  # fmt: skip
    assert all(one["correct_of_all"] == one["correct"] for name, one in shifts.items() if one["classes"] == 6)
    assert f"v2 {shifts['v2']['top1']:.2f} %, sketch" in done.out
    again = call("evaluate", str(path), f"data.cache={tmp_path / 'cache'}", cwd=tmp_path)
    assert again.code == 0, again.err
    assert f"a: recorded {shifts['a']['correct']} of 4, reproduced {shifts['a']['correct']} of 4" in again.out
    assert call("tables", "results", cwd=tmp_path).code == 0
    table = (tmp_path / "results/tables/accuracy.md").read_text()
    assert "| method | trained (M) | with head (M) | ImageNet\\* | ImageNetV2 | ImageNet-Sketch | ImageNet-A" in table
    assert not (tmp_path / "results/tables/fewshot.md").exists()
    whole = path.read_text()
    for name, value in (("top1", 99.0), ("total", 5), ("correct_of_all", 5)):
        edited = json.loads(whole)
        edited["metrics"]["shifts"]["a"][name] = value
        path.write_text(json.dumps(edited))
        with pytest.raises(UserError, match=r"metrics\.shifts\.a\.to.*was it edited"):
            read_record(path)


def test_tuning_scores_val_alone(
    sets: Path, nano: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_classes(monkeypatch)
    opened: list[str] = []
    real = PreparedTask._read
    monkeypatch.setattr(PreparedTask, "_read", lambda self, split: (opened.append(split), real(self, split))[1])
    cell(sets, nano, tmp_path, protocol="tune")
    (path,) = (tmp_path / "results/records").rglob("*.json")
    assert "shifts" not in read_record(path)["metrics"] and set(opened) == {"train800", "val200"}
