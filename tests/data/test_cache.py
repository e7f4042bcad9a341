"""The cache: written once, verified always, never half there."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from packs import make_pack
from PIL import Image

from aoft_bench.data import cache, task, tasks
from aoft_bench.data.image_list import JoinedArrays
from aoft_bench.data.locations import Locations
from aoft_bench.data.manifest import ManifestRow, digest, read
from aoft_bench.data.prepared_task import PreparedTask, prepare
from aoft_bench.data.tfds.official import FOLDER
from aoft_bench.utils.errors import UserError

OWN = task("folder")


def prepared(folder: Path, **options) -> PreparedTask:
    return prepare(
        OWN, Locations(folder / "cache", folder / "pack"), image_size=options.pop("image_size", 16), **options
    )


@pytest.fixture
def pack(tmp_path) -> Path:
    """A folder with a native 12 x 12 pack in it."""
    make_pack(tmp_path / "pack")
    return tmp_path


def test_images_and_labels_are_those_of_the_pack(pack):
    ready = prepared(pack)
    assert ready.shape == (12, 12, 3) and ready.squashed_by is None and ready.classes == 3
    assert ready.sizes == {"train800": 6, "val200": 3, "test": 6}
    assert (ready.source, ready.official) == ("folder", False)
    test = ready.open_test()
    assert isinstance(test.images, np.memmap) and test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    for index in range(6):
        with Image.open(pack / f"pack/images/test/{index:06d}.png") as image:
            np.testing.assert_array_equal(test.images[index], np.asarray(image))
    both = ready.train("train800val200")
    assert isinstance(both.images, JoinedArrays), "read where they lie: together they may not fit into memory"
    np.testing.assert_array_equal(both.images[6:9], ready.train("val200").images)
    assert both.labels.tolist() == ready.train("train800").labels.tolist() + ready.train("val200").labels.tolist()
    with pytest.raises(UserError, match="unknown training split 'test'.*train800val200"):
        ready.train("test")


def test_the_fingerprint_depends_on_content_only(pack):
    first = prepared(pack)
    for image in (pack / "pack").rglob("*.png"):
        os.utime(image, (1, 1))
    assert prepared(pack).directory == first.directory
    Image.open(image).save(image, compress_level=1)  # another file of the same pixels
    again = prepared(pack)
    assert again.directory != first.directory and again.fingerprint == first.fingerprint


@pytest.mark.parametrize(("interpolation", "method"), [("bicubic", 3), ("bilinear", 2)])
def test_images_of_several_sizes_are_squashed_as_by_pillow(tmp_path, interpolation, method):
    make_pack(tmp_path / "pack", shape=[(12, 20), (9, 30)])
    ready = prepared(tmp_path, interpolation=interpolation)
    assert ready.shape == (16, 16, 3) and ready.squashed_by == interpolation
    with Image.open(tmp_path / "pack/images/val200/000001.png") as image:
        theirs = np.asarray(image.resize((16, 16), Image.Resampling(method)))
    np.testing.assert_array_equal(ready.train("val200").images[1], theirs)


def test_size_and_interpolation_count_only_where_images_are_resized(pack):
    native, small = prepared(pack), prepared(pack, image_size=8)
    assert small.shape == (8, 8, 3) and small.directory != native.directory
    assert prepared(pack, image_size=8, interpolation="bilinear").directory not in (native.directory, small.directory)
    assert prepared(pack, image_size=8).directory == small.directory
    assert prepared(pack, image_size=12).directory == native.directory


def test_a_vtab_pack_is_never_official_and_says_why(tmp_path):
    make_pack(tmp_path / "eurosat", class_names=True)
    ready = prepare(task("eurosat"), Locations(tmp_path / "cache", tmp_path), image_size=16)
    assert not ready.official and ready.classes == 3 and ready.class_names == ("class 0", "class 1", "class 2")
    for part in ("not verified", "sizes 6/3/6 instead of 800/200/5400", "3 classes instead of 10"):
        assert part in ready.official_note


def test_embedded_tasks_need_no_files(tmp_path):
    ready = prepare(task("digits"), Locations(tmp_path), image_size=32)
    assert ready.shape == (8, 8, 1) and ready.classes == 10 and not ready.official
    assert [len(ready.train(split).labels) for split in ("train800", "val200", "train800val200")] == [800, 200, 1000]
    assert prepare(task("digits"), Locations(tmp_path), image_size=224).directory == ready.directory
    small = prepare(task("digits"), Locations(tmp_path), image_size=5)
    assert small.open_test().images.shape == (797, 5, 5, 1)


def flip_byte(path: Path, position: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("name", ["train800.npy", "train800_labels.npy", "test.npy", "test_labels.npy"])
@pytest.mark.parametrize("damage", [flip_byte, truncate, lambda path: flip_byte(path, 0), Path.unlink])
def test_a_damaged_array_is_named_when_its_split_is_opened(pack, name, damage):
    ready = prepared(pack)
    damage(ready.directory / name)
    again = prepared(pack)  # opening the task reads no arrays
    openings = {"test": again.open_test, "train800": lambda: again.train("train800val200")}
    split = name.split("_")[0].split(".")[0]
    with pytest.raises(UserError, match=rf"{name} .*; delete {ready.directory} and run again") as raised:
        openings.pop(split)()
    assert "\n" not in str(raised.value)
    openings.popitem()[1]()  # the other one is whole


def test_arrays_of_another_cache_are_not_taken(pack):
    ready = prepared(pack)
    shutil.copy(ready.directory / "train800.npy", ready.directory / "test.npy")  # even of the same shape
    with pytest.raises(UserError, match="test.npy is corrupt"):
        ready.open_test()
    np.save(ready.directory / "train800.npy", np.zeros((6, 12, 12, 3), np.float32))
    with pytest.raises(UserError, match="train800.npy holds float32"):
        ready.train("train800")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": cache.FORMAT + 1}, f"format version {cache.FORMAT + 1}, this version reads {cache.FORMAT}"),
        ({"format": 0}, "format version 0"),
        ({"classes": 4}, "is corrupt"),
        ({"official": True}, "is corrupt"),
    ],
)
def test_an_altered_meta_file_is_refused(pack, change, says):
    path = prepared(pack).directory / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=rf"meta.json .*{says}.*delete {path.parent}"):
        prepared(pack)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\x00"])
def test_a_broken_meta_file_is_refused(pack, text):
    path = prepared(pack).directory / "meta.json"
    path.write_text(text)
    with pytest.raises(UserError, match="meta.json is corrupt; delete"):
        prepared(pack)
    path.unlink()
    with pytest.raises(UserError, match="meta.json is missing; delete"):
        prepared(pack)


def test_a_foreign_cache_is_refused(pack):
    directory = prepared(pack).directory
    with pytest.raises(UserError, match="is of another cache .folder/"):
        cache.read_meta(directory, "dtd")
    moved = directory.rename(directory.with_name("0" * 16))
    with pytest.raises(UserError, match="is of another cache"):
        cache.read_meta(moved, "folder")


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".partial", ".npy", ".json")]


def test_a_full_disk_is_reported_before_decoding(pack, monkeypatch):
    usage = shutil.disk_usage(pack)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match="the disk is full: cannot write the cache in .*data.cache="):
        prepared(pack)
    assert not leftovers(pack / "cache")


def test_a_disk_that_fills_while_writing_leaves_nothing_behind(tmp_path):
    make_pack(tmp_path / "pack", shape=(100, 100))  # 180 kB of training images
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match="the disk is full: cannot write the cache in .*free some space"):
            prepared(tmp_path, image_size=128)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not leftovers(tmp_path / "cache")
    assert prepared(tmp_path, image_size=128).shape == (100, 100, 3)


def test_a_folder_that_cannot_be_written_is_named(pack):
    (pack / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write the cache in .*: (Not a directory|File exists).*data.cache="):
        prepared(pack)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder_is_named(pack):
    (pack / "cache").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot write the cache in .*Permission denied.*data.cache="):
        prepared(pack)


PREPARE = """
import sys
from pathlib import Path
from aoft_bench.data import task
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import prepare

folder = Path(sys.argv[1])
print(prepare(task("folder"), Locations(folder / "cache", folder / "pack"), image_size=16).fingerprint)
"""


def start_preparing(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", PREPARE, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_preparers_of_one_task_wait_for_each_other_and_share_the_result(pack):
    lock = FileLock(pack / "cache/.folder.lock")
    (pack / "cache").mkdir()
    with lock:
        processes = [start_preparing(pack) for _ in range(3)]
        assert processes[0].stderr.readline() == "aoft_bench: another process is preparing folder; waiting for it\n"
        assert processes[0].poll() is None and not leftovers(pack / "cache")
    fingerprints = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert fingerprints == {prepared(pack).fingerprint}
    assert [path.name for path in (pack / "cache/folder").iterdir()] == [prepared(pack).directory.name]


def test_what_a_killed_preparation_left_is_removed(pack):
    directory = prepared(pack).directory
    shutil.rmtree(directory)
    leftover = directory.with_name(f".{directory.name}-0123.partial")
    leftover.mkdir()
    (leftover / "train800.npy").write_bytes(b"half an array")
    assert prepared(pack).directory == directory and not leftover.exists()


def test_a_pack_of_grey_images_is_cached_with_one_channel(pack):
    for path in (pack / "pack").rglob("*.png"):
        with Image.open(path) as image:
            image.convert("L").save(path)
    ready = prepared(pack)
    assert ready.shape == (12, 12, 1)
    with Image.open(pack / "pack/images/test/000003.png") as image:
        np.testing.assert_array_equal(ready.open_test().images[3, :, :, 0], np.asarray(image))
    assert prepared(pack, image_size=8).open_test().images.shape == (6, 8, 8, 1)
    with Image.open(pack / "pack/images/test/000003.png") as image:
        image.convert("RGB").save(pack / "pack/images/test/000003.png")
    assert prepared(pack).shape == (12, 12, 3)


def test_the_manifest_says_which_images_a_cache_holds(pack):
    ready = prepared(pack)
    rows = ready.read_manifest()
    assert {split: len(entries) for split, entries in rows.items()} == ready.sizes
    with Image.open(pack / "pack/images/val200/000002.png") as image:
        content = b"12 12 " + image.tobytes()
    assert rows["val200"][2] == ManifestRow(2, "", hashlib.sha256(content).hexdigest()[:32])
    squashed = prepared(pack, image_size=8)
    assert squashed.manifest == ready.manifest and squashed.fingerprint != ready.fingerprint
    (ready.directory / "manifest.tsv.gz").write_bytes(b"")
    with pytest.raises(UserError, match="manifest.tsv.gz .*delete"):
        ready.read_manifest()


def test_copies_of_training_images_among_test_images_are_counted(pack):
    assert prepared(pack).copies("train800val200", "test") == 0
    images = pack / "pack/images"
    with Image.open(images / "val200/000001.png") as image:
        image.save(images / "test/000004.png", compress_level=0)  # another file, the same pixels
    shutil.copy(images / "train800/000000.png", images / "test/000000.png")
    shutil.copy(images / "train800/000000.png", images / "val200/000000.png")
    for size in (16, 8):
        ready = prepared(pack, image_size=size)
        assert ready.copies("train800val200", "test") == 2 and ready.copies("train800", "test") == 1
        assert ready.copies("train800", "val200") == 1


def test_a_grey_image_has_the_digest_of_its_rgb_copy():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    assert digest(grey) == digest(grey.repeat(3, axis=2)) != digest(grey.reshape(4, 3, 1))


@pytest.mark.parametrize("name", tasks("embedded"))
def test_embedded_tasks_are_the_published_ones(name, tmp_path):
    """The manifests in the repository: an embedded task that changed would change numbers under the same name."""
    ready = prepare(task(name), Locations(tmp_path), image_size=32)
    rows = ready.read_manifest()
    assert rows == read(FOLDER / f"{name}.manifest.tsv.gz") and ready.sizes == dict(task(name).sizes)
    assert {row.label for part in rows.values() for row in part} == set(range(ready.classes))
