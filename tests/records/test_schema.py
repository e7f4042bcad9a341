"""What a record must hold, and what must follow from what in it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_cases import record

from aoft_bench.records.files import read_record, write_record
from aoft_bench.records.identity import record_hash
from aoft_bench.records.schema import check_record
from aoft_bench.utils.errors import UserError

Edit = Callable[[dict[str, Any]], None]


def put(*keys: str, value: Any) -> Edit:
    def edit(made: dict[str, Any]) -> None:
        node = made
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return edit


def good(top1: float = 60.0, **changes: Any) -> dict[str, Any]:
    made = record(top1, **changes)
    return made | {"hash": record_hash(made)}


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
def test_an_edited_or_damaged_record_is_refused(edit: Edit, reason: str) -> None:
    made = good()
    check_record(made)
    edit(made)
    with pytest.raises(UserError) as refused:
        check_record(made)
    assert reason in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("best", "why"), [(65.0, ""), (64.0, "is 64, but the best of its curve is 65")])
def test_the_best_epoch_is_that_of_its_curve(best: float, why: str) -> None:
    metrics = {"split": "test", "top1": 60.0, "correct": 60, "total": 100, "best_test_epoch_top1": best}
    protocol = {"protocol__name": "literature", "config__protocol__name": "literature"}
    made = good(metrics=metrics, curves={"test_top1": [65.0, 60.0]}, **protocol)
    if not why:
        check_record(made)
        return
    with pytest.raises(UserError, match=why):
        check_record(made)


def test_a_protocol_of_a_later_version_is_no_mistake() -> None:
    check_record(good(protocol__name="later", config__protocol__name="later", metrics__split="val100"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', "\ufeff{}", "null"])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "seed0-aaaaaaaaaa.json"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        read_record(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_what_is_written_is_read_again_and_nothing_else_is_written(tmp_path: Path) -> None:
    path, made = tmp_path / "record.json", good()
    write_record(path, made)
    assert read_record(path) == made
    assert path.read_text("utf-8") == json.dumps(made, indent=1) + "\n"
    made["curves"]["train_loss"] = [math.nan]
    with pytest.raises(UserError, match=r"curves.train_loss \(1\) is not a finite number"):
        write_record(tmp_path / "other.json", made)
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data(), value=JSON)
def test_whatever_stands_in_a_record_it_is_accepted_or_refused_in_a_line(data: st.DataObject, value: Any) -> None:
    made = node = good()
    while isinstance(node[key := data.draw(st.sampled_from(sorted(node)))], dict) and data.draw(st.booleans()):
        node = node[key] or node
    node[key] = value
    try:
        check_record(made)
    except UserError as refused:
        assert str(refused) and "\n" not in str(refused)
