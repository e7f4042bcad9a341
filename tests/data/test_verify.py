"""Caches compared with themselves and with the official lists."""

import gzip
import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packs import make_json_set, make_pack, tfds_cache

from aoft_bench.data import cache, manifest, task
from aoft_bench.data.locations import Locations
from aoft_bench.data.manifest import ManifestRow
from aoft_bench.data.prepared_task import PreparedTask, prepare
from aoft_bench.data.tfds.official import official_ids
from aoft_bench.data.verify import check_files, verify
from aoft_bench.utils.errors import UserError

OWN = task("folder")


def prepared(folder: Path, size: int = 16) -> PreparedTask:
    if not (folder / "pack").exists():
        make_pack(folder / "pack")
    return prepare(OWN, Locations(folder / "cache", folder / "pack"), image_size=size)


def problems(ready: PreparedTask) -> list[str]:
    """What is wrong with a cache: each text one line that ends with the remedy."""
    found = verify(ready.task, ready.directory)
    assert not found.sound
    for text in found.problems:
        assert "\n" not in text and str(ready.directory) in text.partition("; delete ")[2]
    return list(found.problems)


def test_a_sound_cache(tmp_path):
    ready = prepared(tmp_path)
    assert verify(OWN, ready.directory).problems == ()
    assert verify(OWN, ready.directory).sound == "15 images whole"
    squashed = prepared(tmp_path, 8)
    assert "15 images whole; digests not checked" in verify(OWN, squashed.directory).sound
    digits = prepare(task("digits"), Locations(tmp_path), image_size=16)
    assert verify(digits.task, digits.directory).sound == "1,797 images whole"


def test_a_sound_cache_of_images_of_different_sizes(tmp_path):
    make_json_set(tmp_path / "cub", shape=[(9, 12), (14, 8)])
    ready = prepare(task("cub"), Locations(tmp_path / "cache", tmp_path), image_size=16)
    assert verify(ready.task, ready.directory).problems == ()
    sizes = ready.directory / "test_sizes.npy"
    resign(ready, "test_sizes.npy", np.load(sizes)[::-1].repeat(1, axis=0) + 1)
    assert any("test_sizes.npy does not fit its images" in text for text in problems(ready))


def test_a_cache_of_a_pack_is_not_compared_with_a_list(tmp_path):
    make_pack(tmp_path / "eurosat")
    ready = prepare(task("eurosat"), Locations(tmp_path / "cache", tmp_path), image_size=16)
    found = verify(ready.task, ready.directory)
    assert found.official is None and "a folder pack has no ids" in found.sound


def test_a_cache_from_tfds_is_compared_with_the_list(tmp_path):
    ids = {split: list(part) for split, part in (official_ids(task("eurosat")) or {}).items()}
    ready = tfds_cache(tmp_path / "right", "eurosat", ids)
    found = verify(ready.task, ready.directory)
    assert found.official is True and found.sound == "6,400 images whole; ids are the official ones"
    ids["val200"][4:6] = reversed(ids["val200"][4:6])
    ids["test"].pop()
    ready = tfds_cache(tmp_path / "wrong", "eurosat", ids)
    assert verify(ready.task, ready.directory).official is False
    first, second = problems(ready)
    assert "2 of 200 ids of val200 differ, the first at position 4" in first and "delete" in first
    assert "test has 5,399 examples instead of 5,400" in second


def test_a_cache_from_tfds_without_ids_or_list_says_so(tmp_path):
    bare = {"train800": [""] * 4, "val200": [""] * 2, "test": [""] * 3}
    for name, says in (("smallnorb_azimuth", "have no ids"), ("dtd", "no official list")):
        ready = tfds_cache(tmp_path, name, bare)
        found = verify(ready.task, ready.directory)
        assert found.official is None and not found.problems and says in found.sound


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


FILES = ["meta.json", "manifest.tsv.gz", "train800.npy", "val200_labels.npy", "test.npy", "test_labels.npy"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [flip_byte, truncate, Path.unlink])
def test_each_damaged_file_is_named(tmp_path, name, damage):
    ready = prepared(tmp_path)
    damage(ready.directory / name)
    assert [name in text for text in problems(ready)] == [True]


def test_any_altered_byte_is_reported(tmp_path):
    ready = prepared(tmp_path)
    for name in ("manifest.tsv.gz", "test_labels.npy"):
        path = ready.directory / name
        whole = path.read_bytes()
        for place in range(10, len(whole), 5):  # the first ten bytes of a gzip file are time and system
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            found = verify(OWN, ready.directory).problems
            if found:
                assert [name in text and "\n" not in text for text in found] == [True]
            else:  # a blank of the header was replaced, which changes nothing
                np.testing.assert_array_equal(np.load(path), [0, 1, 2, 0, 1, 2])
        path.write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_missing_and_truncated_files_are_found_without_reading_pixels(tmp_path, name, damage):
    ready = prepared(tmp_path)
    check_files(ready.directory, ready.meta)
    damage(ready.directory / name)
    if name == "manifest.tsv.gz" and damage is truncate:
        check_files(ready.directory, ready.meta)  # it is not unpacked
        return
    with pytest.raises(UserError, match=f"{name} .*; delete {ready.directory} and (prepare|run) again"):
        check_files(ready.directory, PreparedTask.open(OWN, ready.directory).meta)


def test_the_rest_is_checked_after_a_problem(tmp_path):
    ready = prepared(tmp_path)
    for name in ("train800.npy", "test_labels.npy", "manifest.tsv.gz"):
        flip_byte(ready.directory / name)
    assert sorted(text.partition(str(ready.directory) + "/")[2].split()[0].rstrip(":") for text in problems(ready)) == [
        "manifest.tsv.gz",
        "test_labels.npy",
        "train800.npy",
    ]


def resign_meta(ready: PreparedTask, **changes: Any) -> None:
    """Change meta.json and make its checksum right: what a faulty writer, not a faulty disk, would leave."""
    meta = json.loads((ready.directory / "meta.json").read_text()) | changes
    del meta["checksum"]
    if "fingerprint" not in changes:
        meta["fingerprint"] = cache.fingerprint(meta)
    meta["checksum"] = hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
    (ready.directory / "meta.json").write_text(json.dumps(meta))


def resign(ready: PreparedTask, name: str, array: np.ndarray) -> None:
    """Replace an array and its SHA-256."""
    np.save(ready.directory / name, array)
    files = json.loads((ready.directory / "meta.json").read_text())["files"]
    resign_meta(ready, files=files | {name: hashlib.sha256(array.tobytes()).hexdigest()})


def rewrite_manifest(ready: PreparedTask, change: Callable[[dict[str, tuple[ManifestRow, ...]]], None]) -> None:
    """Replace the manifest and its SHA-256."""
    rows = dict(ready.read_manifest())
    change(rows)
    resign_meta(ready, manifest=manifest.write(ready.directory / manifest.NAME, "folder", rows))


def test_parts_that_contradict_each_other_are_reported(tmp_path):
    ready = prepared(tmp_path)
    resign(ready, "test_labels.npy", np.array([0, 1, 7, 0, 1, 2]))
    resign(ready, "val200_labels.npy", np.array([0, 2, 2]))
    other, outside = problems(ready)
    assert "manifest.tsv.gz has another label than val200_labels.npy, first at position 1" in other
    assert "test_labels.npy holds the label 7, out of range for 3 classes" in outside


def test_a_manifest_of_other_images_is_reported(tmp_path):
    ready = prepared(tmp_path)

    def swap(rows: dict[str, tuple[ManifestRow, ...]]) -> None:
        first, second, third = rows["val200"]
        rows["val200"] = (first, second._replace(digest=third.digest), third)
        rows["test"] = rows["test"][1:]

    rewrite_manifest(ready, swap)
    digests, count = problems(ready)
    assert "has another digest than the image of val200 at position 1" in digests
    assert "lists 5 images of test, the cache holds 6" in count


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fingerprint": "0" * 64}, "its fingerprint is that of other arrays"),
        ({"stored": {"train800": [6, 12, 12, 3], "val200": [4, 12, 12, 3], "test": [6, 12, 12, 3]}}, "stored is not"),
        ({"stored": {}}, "fingerprint|stored and sizes"),
        ({"sizes": {"train800": 6}}, "files are not those of its splits"),
        ({"sizes": {"train800": True, "val200": 3, "test": 6}}, "sizes.train800: "),
        ({"files": {"../../x.npy": "0"}}, "files are not those of its splits"),
        ({"shape": [12, 12]}, "shape: "),
        ({"classes": 0}, "classes: "),
        ({"classes": "3"}, "classes: "),
        ({"classes": 300_000_000}, "has 300,000,000 classes, folder has at most 15"),
        ({"class_names": ["a", "b"]}, "3 classes, but 2 names"),
        ({"source_note": None}, "source_note: "),
    ],
)
def test_a_meta_file_that_contradicts_itself_is_refused_whatever_its_checksum(tmp_path, change, says):
    ready = prepared(tmp_path)
    resign_meta(ready, **change)
    with pytest.raises(UserError, match=f"meta.json .*({says}).*; delete {ready.directory} and run again"):
        prepared(tmp_path)


def test_a_wrong_number_of_classes_is_refused_whatever_its_checksum(tmp_path):
    ready = prepared(tmp_path)
    resign_meta(ready, classes=2)
    with pytest.raises(UserError, match="test_labels.npy holds the label 2, out of range for 2 classes; delete"):
        prepared(tmp_path).open_test()
    digits = prepare(task("digits"), Locations(tmp_path), image_size=16)
    resign_meta(digits, classes=12)
    assert verify(digits.task, digits.directory).problems
    with pytest.raises(UserError, match="meta.json has 12 classes, digits has 10; delete"):
        prepare(task("digits"), Locations(tmp_path), image_size=16)


def test_what_is_no_file_or_another_file_is_refused_without_waiting(tmp_path):
    ready = prepared(tmp_path)
    array, meta, rows = (ready.directory / name for name in ("test.npy", "meta.json", "manifest.tsv.gz"))
    whole = array.read_bytes()
    zipped, pickled = io.BytesIO(), io.BytesIO()
    np.savez(zipped, a=np.zeros(3))
    np.save(pickled, np.array([None]), allow_pickle=True)
    for content in (zipped.getvalue(), pickled.getvalue(), pickle.dumps(1), b"", whole[:128]):
        array.write_bytes(content)
        with pytest.raises(UserError, match="test.npy is truncated or corrupt; delete"):
            ready.open_test()
        assert any("test.npy is truncated or corrupt" in text for text in problems(ready))
    meta.write_text("[" * 100_000)
    with pytest.raises(UserError, match="meta.json is corrupt; delete"):
        prepared(tmp_path)
    rows.write_bytes(gzip.compress(b"test\t0\n"))
    with pytest.raises(UserError, match="is corrupt; delete"):
        manifest.read(rows)
    for path, read in ((array, ready.open_test), (rows, ready.read_manifest), (meta, lambda: prepared(tmp_path))):
        for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
            path.unlink()
            make(path)
            with pytest.raises(UserError, match=f"{path.name}.*not a regular file"):
                read()
