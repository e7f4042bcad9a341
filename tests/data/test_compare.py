"""The differences between two caches, of packs that were changed in one known way."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from packs import make_json_set, make_pack, set_line
from PIL import Image

from aoft_bench.data import task
from aoft_bench.data.compare import CacheComparison, SplitComparison, compare, csv_text, describe
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import PreparedTask, prepare
from aoft_bench.utils.errors import UserError


def side(folder: Path, name: str, size: int = 32, **options) -> PreparedTask:
    return prepare(task("folder"), Locations(folder / "cache", folder / name), image_size=size, **options)


def other(folder: Path) -> Path:
    """A copy of the pack `a`, called `b`."""
    return shutil.copytree(folder / "a", folder / "b")


def compared(folder: Path, **options) -> CacheComparison:
    return compare(side(folder, "a", **options), side(folder, "b", **options))


def split(found: CacheComparison, name: str) -> SplitComparison:
    return next(one for one in found.splits if one.split == name)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float64)


@pytest.fixture
def packs(tmp_path) -> Path:
    """A folder with a pack `a` of smooth images, which JPEG keeps nearly as they are."""
    make_pack(tmp_path / "a", shape=(24, 24))
    rng = np.random.default_rng(1)
    for path in sorted((tmp_path / "a").rglob("*.png")):
        coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        coarse.resize((24, 24), Image.Resampling.BICUBIC).save(path)
    return tmp_path


def test_the_same_content_is_the_same_whatever_the_files_are(packs):
    for path in other(packs).rglob("*.png"):
        with Image.open(path) as image:
            image.save(path, "BMP")
    a, b = side(packs, "a"), side(packs, "b")
    found = compare(a, b)
    assert a.directory != b.directory and found.same and not found.overlaps and not found.pixels
    assert [(len(one.shared), one.matched, one.moved_labels) for one in found.splits] == [
        (6, (), 0),
        (3, (), 0),
        (6, (), 0),
    ]
    assert describe(found)[0] == "train800: the same 6 images in the same order with the same labels"
    assert describe(found)[-1] == "A and B hold the same images in the same order with the same labels"


def test_a_lossy_copy_is_recognised_by_its_errors(packs):
    for path in other(packs).rglob("*.png"):
        with Image.open(path) as image:
            image.convert("RGB").save(path, "JPEG", quality=80)
    found = compared(packs)
    test = split(found, "test")
    assert not found.same and not test.shared and test.matched_by == "position" and len(test.matched) == 6
    for pair in test.matched:
        name = f"images/test/{pair.a:06d}.png"
        wanted = np.abs(pixels(packs / "a" / name) - pixels(packs / "b" / name)).mean()
        assert pair.a == pair.b and pair.error == pytest.approx(wanted, abs=1e-12) and 0 < wanted < 12
    text = "\n".join(describe(found))
    assert (
        f"median {np.median(test.errors):.2f}, largest {test.errors.max():.2f} grey levels; small: these read as"
        in text
    )
    assert "6 images in A, 6 in B; 0 in both; 6 only in A, 6 only in B; labels differ at 0 positions" in text


def test_other_images_are_recognised_by_their_errors(packs):
    make_pack(packs / "b", shape=(24, 24), seed=9)
    found = compared(packs)
    assert split(found, "test").errors.min() > 20
    assert "large: these read as other images, 0 pairs below 12" in "\n".join(describe(found))


def test_one_other_image_among_copies_stands_out(packs):
    make_pack(other(packs).parent / "c", shape=(24, 24), seed=9)
    for index in range(6):
        path = packs / f"b/images/test/{index:06d}.png"
        with Image.open(path) as image:
            image.convert("RGB").save(path, "JPEG", quality=90)
    shutil.copy(packs / "c/images/test/000004.png", packs / "b/images/test")
    test = split(compared(packs), "test")
    assert [pair.a for pair in test.matched if pair.error is not None and pair.error > 20] == [4]
    assert "1 pairs above 20 may be other images" in "\n".join(describe(compared(packs)))


def test_another_order_is_the_same_content(packs):
    path = other(packs) / "test.txt"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")
    found = compared(packs)
    test = split(found, "test")
    assert not found.same and split(found, "train800").same
    assert [(pair.a, pair.b) for pair in test.shared] == [(i, 5 - i) for i in range(6)]
    assert (test.relabelled, test.moved_labels, test.matched) == (0, 4, ())  # 0 1 2 0 1 2 and 2 1 0 2 1 0
    assert "  the same images and labels in another order" in describe(found)


def test_other_labels_are_counted(packs):
    set_line(other(packs), "val200", 2, "images/val200/000001.png 2")
    val = split(compared(packs), "val200")
    assert (len(val.shared), val.relabelled, val.moved_labels, val.same) == (3, 1, 1, False)
    assert [(pair.label_a, pair.label_b) for pair in val.shared] == [(0, 0), (1, 2), (2, 2)]
    assert "3 in both, 1 of them with another label" in "\n".join(describe(compared(packs)))


def test_images_that_only_one_has_are_counted(packs):
    set_line(other(packs), "train800", 2, "")
    train = split(compared(packs), "train800")
    assert (train.counts, len(train.shared), train.matched, train.same) == ((6, 5), 5, (), False)
    # 0 1 2 0 1 2 and 0 2 0 1 2
    assert train.moved_labels == 4
    assert "1 only in A, 0 only in B" in "\n".join(describe(compared(packs)))


def test_pairs_by_position_need_the_same_label(packs):
    make_pack(packs / "b", shape=(24, 24), seed=9)
    set_line(packs / "b", "val200", 2, "images/val200/000001.png 0")
    val = split(compared(packs), "val200")
    assert [(pair.a, pair.b) for pair in val.matched] == [(0, 0), (2, 2)] and val.moved_labels == 1


def test_an_image_that_is_twice_in_a_is_shared_as_often_as_it_is_in_b(packs):
    shutil.copy(packs / "a/images/test/000000.png", packs / "a/images/test/000003.png")
    shutil.copytree(packs / "a", packs / "b")
    assert compared(packs).same
    make_pack(packs / "c", shape=(24, 24), seed=9)
    shutil.copy(packs / "c/images/test/000000.png", packs / "b/images/test/000000.png")
    test = split(compared(packs), "test")
    assert (3, 3) in [(pair.a, pair.b) for pair in test.shared]
    assert len(test.shared) == 5 and [(pair.a, pair.b) for pair in test.matched] == [(0, 0)]


def test_overlap_between_splits_is_counted(packs):
    other(packs)
    for mine, theirs in (("train800/000001", "test/000003"), ("train800/000002", "test/000004")):
        shutil.copy(packs / f"a/images/{mine}.png", packs / f"b/images/{theirs}.png")
    found = compared(packs)
    assert found.overlaps == {("train800", "test"): 2}
    assert "overlap: 2 images of train800 of A are in test of B" in describe(found)
    assert compare(side(packs, "b"), side(packs, "a")).overlaps == {("test", "train800"): 2}


def test_a_grey_pack_equals_its_colour_copy(packs):
    for path in (packs / "a").rglob("*.png"):
        with Image.open(path) as image:
            image.convert("L").save(path)
    for path in other(packs).rglob("*.png"):
        with Image.open(path) as image:
            image.convert("RGB").save(path)
    assert side(packs, "a").shape == (24, 24, 1) and compared(packs).same
    with Image.open(packs / "b/images/val200/000001.png") as image:
        brighter = np.asarray(image) // 2 + 3
    Image.fromarray(brighter).save(packs / "b/images/val200/000001.png")
    wanted = np.abs(pixels(packs / "a/images/val200/000001.png") - brighter).mean()
    assert [pair.error for pair in split(compared(packs), "val200").matched] == [pytest.approx(wanted, abs=1e-12)]


def test_other_cached_sizes_are_compared_by_digest_only(packs):
    set_line(other(packs), "val200", 2, "images/val200/000001.png 2")
    shutil.copy(packs / "a/images/val200/000000.png", packs / "b/images/test/000000.png")
    found = compare(side(packs, "a"), side(packs, "b", size=16))
    assert (
        "cached at different sizes (A: 24 x 24 x 3, native; B: 16 x 16 x 3, squashed by bicubic)" in describe(found)[0]
    )
    assert split(found, "val200").relabelled == 1 and split(found, "train800").same
    assert [pair.error for pair in split(found, "test").matched] == [None]
    assert "1 pairs by position and label, their pixels not compared" in "\n".join(describe(found))
    assert csv_text(found).splitlines()[-1] == "test,0,0,0,0,,"
    again = compare(side(packs, "a", size=16), side(packs, "b", size=16, interpolation="bilinear"))
    assert "squashed by bicubic" in again.pixels and "squashed by bilinear" in again.pixels


def test_both_squashed_at_one_size_are_compared(packs):
    other(packs)
    path = packs / "b/images/test/000002.png"
    with Image.open(path) as image:
        image.resize((20, 30)).save(path)
    a, b = side(packs, "a", size=16), side(packs, "b", size=16)
    assert a.squashed_by == b.squashed_by == "bicubic"
    (pair,) = split(compare(a, b), "test").matched
    images = [np.load(one.directory / "test.npy")[2].astype(float) for one in (a, b)]
    assert pair.error == pytest.approx(np.abs(images[0] - images[1]).mean(), abs=1e-12)


def birds(folder: Path, name: str) -> PreparedTask:
    return prepare(task("cub"), Locations(folder / "cache", folder / name), image_size=16)


def test_images_with_ids_are_paired_by_them(tmp_path):
    root = shutil.copytree(make_json_set(tmp_path / "a"), tmp_path / "b")
    assert compare(birds(tmp_path, "a"), birds(tmp_path, "b")).same
    for index in (1, 4):
        path = root / f"images/test/{index:06d}.png"
        with Image.open(path) as image:
            turned = image.rotate(90, expand=True) if index == 4 else image
            turned.save(path, "JPEG")
    entries = json.loads((root / "test.json").read_text())
    entries["images/test/000001.png"] = 2
    (root / "test.json").write_text(json.dumps(dict(reversed(entries.items()))))
    found = compare(birds(tmp_path, "a"), birds(tmp_path, "b"))
    test = split(found, "test")
    assert test.matched_by == "id" and len(test.shared) == 4
    first, second = test.matched
    assert (first.a, first.b, first.label_a, first.label_b, first.id) == (1, 4, 1, 2, "images/test/000001.png")
    assert first.error and (second.a, second.b, second.error) == (4, 1, None)
    assert "(1 pairs of unequal size left out)" in "\n".join(describe(found))


def test_the_csv_has_a_line_a_pair(packs):
    set_line(other(packs), "val200", 2, "images/val200/000001.png 2")
    with Image.open(packs / "b/images/val200/000000.png") as image:
        Image.fromarray(255 - np.asarray(image)).save(packs / "b/images/val200/000000.png")
    rows = list(csv.DictReader(io.StringIO(csv_text(compared(packs)))))
    assert len(rows) == 15 and {row["mean_absolute_error"] for row in rows if row["split"] != "val200"} == {"0.0000"}
    wanted = np.abs(2 * pixels(packs / "a/images/val200/000000.png") - 255).mean()
    assert list(rows[8].values()) == ["val200", "0", "0", "0", "0", "", f"{wanted:.4f}"]
    assert list(rows[6].values()) == ["val200", "1", "1", "1", "2", "", "0.0000"]


def test_a_damaged_cache_is_refused(packs):
    make_pack(packs / "b", shape=(24, 24), seed=9)
    a, b = side(packs, "a"), side(packs, "b")
    (b.directory / "test.npy").write_bytes(b"")
    with pytest.raises(UserError, match="test.npy is truncated or corrupt; delete"):
        compare(a, b)
    (a.directory / "manifest.tsv.gz").unlink()
    with pytest.raises(UserError, match="manifest.tsv.gz is missing; delete"):
        compare(a, b)
