"""Records that may not be compared: each is named with its reason and left out, the others are still used."""

import os
from pathlib import Path
from typing import Any

import pytest
import report_records
from conftest import Command
from record_cases import record, write

from aoft_bench.results.collect import collect


def test_what_a_run_writes_is_kept(tmp_path: Path) -> None:
    paths = [write(tmp_path, record(60.0)), write(tmp_path, record(50.0, "svhn", seed=3))]
    found = collect(tmp_path)
    assert found.paths == paths and not found.left_out
    assert [made["seed"] for made in found.records] == [0, 3]


def test_an_edited_record_is_left_out(tmp_path: Path) -> None:
    """By the checks of `records.schema`."""
    good, bad = write(tmp_path, record(50.0, "svhn")), write(tmp_path, record(60.0))
    bad.write_text(bad.read_text().replace('"rank": 8', '"rank": 9'))
    found = collect(tmp_path)
    assert found.paths == [good]
    (left,) = found.left_out
    assert left.path == bad and left.reason.startswith("its hash is ") and str(bad) not in left.reason


def test_a_task_of_another_version_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, record(60.0, "imagenet_2040"))
    assert "its dataset 'imagenet_2040' is no task of this version" in collect(tmp_path).left_out[0].reason


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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataset": "digits", "config__dataset__name": "digits"}, "digits has no published splits"),
        (
            {"data__sizes": {"train800": 800, "val200": 200, "test": 6000}, "data__classes": 100}
            | {"metrics": {"split": "test", "top1": 60.0, "correct": 3600, "total": 6000}},
            "it has sizes 800/200/6000 instead of 800/200/10000",
        ),
        ({"data__sizes": {"test": 10_000}, "data__classes": 90}, "0/0/10000 instead of 800/200/10000; 90 classes"),
    ],
)
def test_images_that_cannot_be_official_are_not_called_so(tmp_path: Path, changes: Any, reason: str) -> None:
    write(tmp_path, record(60.0, **changes))
    (left,) = collect(tmp_path).left_out
    assert left.reason.startswith("data.official is true, but ") and reason in left.reason


def test_files_of_any_kind_and_name_are_left_out_in_a_line_each(
    tmp_path: Path, cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe, a device, a loop, a folder; names with a newline and with bytes that are no UTF-8; a broken CSV file."""
    monkeypatch.setattr("aoft_bench.figures.write.FIGURES", {})  # drawing takes long
    root = tmp_path / "results"
    (good,) = report_records.write(root, [report_records.make()])
    os.mkfifo(good.with_name("pipe.json"))
    good.with_name("device.json").symlink_to("/dev/zero")
    good.with_name("loop.json").symlink_to("loop.json")
    good.with_name("folder.json").mkdir()
    (root / "records" / "line\n\x1b[31m.json").write_bytes(good.read_bytes())
    (root / "records" / os.fsdecode(b"caf\xe9.json")).write_text("[" * 100_000)
    (root / "published").mkdir()
    (root / "published" / "vtab.csv").write_bytes(b"\xff")
    names = ("pipe.json", "device.json", "loop.json", "folder.json", "published/vtab.csv")
    for command, file in (
        ("tables", "tables/accuracy.md"),
        ("report", "report.html"),
        ("figures", "figures/README.md"),
    ):
        done = cli(command)
        assert done.code == 0 and "1 record" in done.out, done.err
        lines = done.err.splitlines()
        assert len(lines) == 7 and all(line.startswith("aoft_bench: left out ") for line in lines)
        text = (root / file).read_text(encoding="utf-8")
        assert all(name in text for name in names)
        for name in (*names, r"line\n\x1b[31m.json", r"caf\udce9.json"):
            assert sum(f"{name}: " in line for line in lines) == 1
