"""Records that may not be compared: each is named with its reason and left out, the others are still used."""

from pathlib import Path

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
    write(tmp_path, record(60.0, "imagenet"))
    assert "its dataset 'imagenet' is no task of this version" in collect(tmp_path).left_out[0].reason


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
