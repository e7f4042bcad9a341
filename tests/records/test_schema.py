"""What a record must hold, and what must follow from what in it."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import record_cases
from record_cases import record

from aoft_bench.records.files import LARGEST, place_of, read_record, write_record
from aoft_bench.records.identity import record_hash
from aoft_bench.records.schema import NOT_OFFICIAL, check_record
from aoft_bench.utils.errors import UserError

Edit = Callable[[dict[str, Any]], None]


def put(*keys: str, value: Any) -> Edit:
    def edit(made: dict[str, Any]) -> None:
        node = made
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return edit


def nested(levels: int) -> Any:
    """A list in a list in a list ..."""
    return [nested(levels - 1)] if levels else 0


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
        (put("config", "recipe", "lr", value=math.nan), "config.recipe.lr is not a finite number"),
        (put("config", "recipe", "lr", value=10**400), "config.recipe.lr is too large a number"),
        (put("config", "method", "targets", value=nested(30)), "(1) (1) is nested too deeply"),
        (put("data", "classes", value=math.inf), "data.classes is not a finite number"),
        (put("git", value={"commit": "c0ffee\n_target_: os.system"}), "git.commit is 'c0ffee\\n_target_: os.system'"),
        (put("git", value=["c0ffee"]), "git is ['c0ffee']"),
        (put("versions", "torch", value=[2]), "versions.torch is [2]"),
        (put("versions", "to\nrch", value=2), "versions.to\\nrch is 2"),
        (put("hardware", "gpu", value=["H200"]), "hardware.gpu is ['H200']"),
        (put("hardware", "cores", value={}), "hardware.cores is {}"),
        (put("cost", "train_seconds", value=1e300), "cost.train_seconds is 1e+300"),
        (put("curves", "train_loss", value=[1e39]), "curves.train_loss (1) is 1e+39;"),
        (put("command", value=["python"]), "command is ['python']"),
        (put("data", "sizes", value={"test": 9_000}), "metrics.total is 10,000, but data.sizes.test is 9,000"),
        (put("data", "source", value="folder"), "data.official is true, but the images are from 'folder'"),
        (put("data", "source_note", value="folder pack x"), "the images are from 'tfds' ('folder pack x')"),
        (put("data", "official_note", value=f"{NOT_OFFICIAL}: 3 ids"), "data.official is true, but data.official_note"),
        (put("config", "data", "root", value="pack"), "data.source is 'tfds', but config.data.root is 'pack'"),
        (put("config", "data", "source", value="folder"), "data.source is 'tfds', but config.data.root is None"),
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
    made = good()
    path = place_of(made, tmp_path)
    write_record(path, made)
    assert read_record(path) == made
    assert path.read_text("utf-8") == json.dumps(made, indent=1) + "\n"
    made["curves"]["train_loss"] = [math.nan]
    with pytest.raises(UserError, match=r"curves.train_loss \(1\) is not a finite number"):
        write_record(tmp_path / "other.json", made)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (rb'"\ud800"', "is not a whole record"),
        (b'{"a": "\xff"}', "is not a whole record"),
        (b"[" * 100_000, "is not a whole record (recursion limit"),
        (b"1" * 5_000, "is not a whole record (number out of range"),
        (b'{"schema": NaN}', "is not a whole record"),
        (b"[1e400]", "has schema 'list'"),
        (os.mkfifo, "cannot be read: not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "cannot be read: not a regular file"),
        (lambda path: path.symlink_to(path.name), "no record"),
        (Path.mkdir, "cannot be read: not a regular file"),
        (lambda path: (path.touch(), os.truncate(path, LARGEST + 1)), "cannot be read: it has 33,554,433 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_at_once(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "seed0-aaaaaaaaaa.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(UserError) as refused:
        read_record(path)
    assert reason in str(refused.value) and str(refused.value).isprintable() and str(path) in str(refused.value)


def test_a_record_in_the_place_of_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name and by its folder; an edited learning rate whose hash was made to fit is one in a wrong place."""
    path = record_cases.write(tmp_path, record(60.0))
    edited = record(60.0, config__recipe__lr=1.0)
    made_to_fit = json.dumps(edited | {"hash": record_hash(edited)})
    whole = path.read_text()
    elsewhere = path.parents[1] / "svhn" / path.name
    elsewhere.parent.mkdir()
    for wrong, text in ((path.with_name("seed1-0123456789.json"), whole), (elsewhere, whole), (path, made_to_fit)):
        wrong.write_text(text)
        with pytest.raises(UserError, match="is not in its place, records/vit_b16_in21k/lora/cifar100/seed0-"):
            read_record(wrong)
        if wrong == elsewhere:
            assert read_record(wrong, anywhere=True)["seed"] == 0
            continue
        with pytest.raises(UserError, match="is not in its place"):
            read_record(wrong, anywhere=True)
    path.write_text(whole)
    monkeypatch.chdir(path.parent)
    assert read_record(Path(path.name)) == read_record(path) == json.loads(whole)
