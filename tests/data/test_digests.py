"""Caches are named for the content of the images; digests are remembered, so that files are read once."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from packs import make_json_set, make_pack, tfds_cache

from aoft_bench.data import digests, task
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import PreparedTask, find, prepare
from aoft_bench.data.sources.choose import SOURCES
from aoft_bench.data.tasks import SPLITS
from aoft_bench.data.tfds import process
from aoft_bench.utils.errors import UserError


def prepared(folder: Path, pack: str = "pack", name: str = "folder") -> PreparedTask:
    return prepare(task(name), Locations(folder / "cache", folder / pack), image_size=16)


def overwrite(path: Path, content: bytes) -> None:
    """Replace a file's content; its name, size and time of modification stay."""
    before = path.stat()
    assert before.st_size == len(content)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def settled(monkeypatch):
    """Remember files however young they are."""
    monkeypatch.setattr(digests, "_SETTLED", -(10**9))


def test_packs_with_equal_names_sizes_and_times_have_caches_of_their_own(tmp_path, settled):
    for seed, pack in enumerate(("a", "b")):
        make_pack(tmp_path / pack, suffix=".bmp", seed=seed)  # plain pixels: files of one size
        for path in (tmp_path / pack).rglob("*"):
            os.utime(path, (1, 1))
    first, second = prepared(tmp_path, "a"), prepared(tmp_path, "b")
    assert first.fingerprint != second.fingerprint
    assert not np.array_equal(first.open_test().images, second.open_test().images)
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    assert prepared(tmp_path, "c").directory == first.directory
    for path in (tmp_path / "a/images").rglob("*.bmp"):
        overwrite(path, (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes())
    assert prepared(tmp_path, "a").directory == second.directory


@pytest.mark.parametrize(("kind", "name", "make"), [("folder", "folder", make_pack), ("json", "cub", make_json_set)])
def test_an_unchanged_file_is_read_once_and_a_changed_one_is_noticed(tmp_path, settled, monkeypatch, kind, name, make):
    make(tmp_path / "pack")
    reads: list[Path] = []
    opened = digests.open_regular
    monkeypatch.setattr(digests, "open_regular", lambda path: reads.append(path) or opened(path))
    (tmp_path / "cache").mkdir()

    def stamp() -> tuple[str, int]:
        reads.clear()
        found = SOURCES[kind](task(name), Locations(tmp_path / "cache", tmp_path / "pack")).stamp
        return found, sum(path.suffix == ".png" for path in reads)

    first, image = stamp(), tmp_path / "pack/images/test/000000.png"
    content = image.read_bytes()
    assert first[1] == 15 and stamp() == (first[0], 0)
    overwrite(image, content[:-1] + b"x")
    changed = stamp()
    assert changed[0] != first[0] and changed[1] == 1 and stamp() == (changed[0], 0)
    overwrite(image, content)
    os.utime(image, (1, 1))
    assert stamp() == (first[0], 1)  # the time is not part of it
    here, other = tmp_path / "pack", tmp_path / "other"
    shutil.copytree(here, other)
    for count in (15, 0, 0):  # two nodes of a cluster with a copy each and one cache
        here.rename(tmp_path / "away")
        other.rename(here)
        (tmp_path / "away").rename(other)
        assert stamp() == (first[0], count)
    (memory,) = (tmp_path / "cache").glob(".*.digests")
    memory.write_bytes(memory.read_bytes().replace(b"1", b"2", 1))
    assert stamp() == (first[0], 15)  # a damaged memory is not believed
    memory.unlink()
    memory.mkdir()
    assert stamp() == stamp() == (first[0], 15)  # and none is needed
    monkeypatch.setattr(digests, "_SETTLED", 3600 * 10**9)
    memory.rmdir()
    assert stamp() == stamp() == (first[0], 15)  # two writes of one moment could have the same times


def test_an_image_that_changes_before_it_is_decoded_is_refused(tmp_path):
    make_pack(tmp_path / "pack")
    source = SOURCES["folder"](task("folder"), Locations(tmp_path / "cache", tmp_path / "pack"))
    image = tmp_path / "pack/images/val200/000002.png"
    overwrite(image, image.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"000002.png \(val200.txt line 3\) changed while .* run again"):
        source.read("val200", 2)
    image.unlink()
    os.mkfifo(image)
    with pytest.raises(UserError, match="not a regular file"):
        source.read("val200", 2)


def test_a_cache_is_not_taken_for_other_examples_of_tfds(tmp_path, settled):
    eurosat, here = task("eurosat"), Locations(tmp_path / "cache", tfds_dir=tmp_path / "tfds")
    shard = tmp_path / "tfds/eurosat/rgb/2.0.0/eurosat-train.array_record-00000-of-00001"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"examples")
    tfds_cache(tmp_path, "eurosat", {split: ["a"] for split in SPLITS}, process.content(eurosat, here, "2.0.0"))
    ready = find(eurosat, here, image_size=16)
    assert ready is not None
    overwrite(shard, b"eXamples")
    with pytest.raises(UserError, match=f"other examples than those that the cache {ready.directory} was made from"):
        find(eurosat, here, image_size=16)
    shutil.rmtree(tmp_path / "tfds")  # a cache is used without them
    assert find(eurosat, here, image_size=16) == ready
