"""The fine-grained sets: VPT's json files in each layout, labels over the union of the splits, refused files."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aoft_bench.data import task
from aoft_bench.data.locations import find_pack
from aoft_bench.data.sources.fgvc import note, read_set
from aoft_bench.data.sources.listing import ListedImages, first_untrained
from aoft_bench.utils.errors import UserError

PLACES = {"cub": "images", "nabirds": "images", "dogs": "Images", "flowers": "", "cars": ""}
NAMES = ("train", "val", "test")
SIZES = [(9, 12), (14, 8), (10, 10)]  # (height, width)

# NABirds in small: val lacks the ids 3 and 7, 5 is in test alone
BIRDS = {
    "train": {"0817/a.png": 7, "0817/b.png": 3, "0817/c.png": 1010, "0818/a b.png": 20, "0818/b.png": 7},
    "val": {"0817/d.png": 1010, "0818/c.png": 20},
    "test": {"0817/e.png": 3, "0818/d.png": 1010, "0818/e.png": 5, "0818/f.png": 7},
}
UNION = {3: 0, 5: 1, 7: 2, 20: 3, 1010: 4}  # by hand


def make_set(root: Path, place: str = "images", splits: dict[str, dict[str, object]] = BIRDS) -> Path:
    """Write images of several sizes and the three json files to `root` and return it."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    for split, entries in splits.items():
        for index, name in enumerate(entries):
            path = root / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*SIZES[index % 3], 3), dtype=np.uint8)).save(path)
        (root / f"{split}.json").write_text(json.dumps(entries))
    return root


def edit(root: Path, split: str, entries: dict[str, object]) -> None:
    """Add or replace entries of a split."""
    path = root / f"{split}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def read(root: Path) -> ListedImages:
    return read_set(task("nabirds"), root)


def refused(root: Path) -> str:
    """The one line with which a set is refused."""
    with pytest.raises(UserError) as raised:
        read(root)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", PLACES)
def test_each_set_is_found_and_read_in_its_usual_layout(tmp_path, name):
    folder = make_set(tmp_path / task(name).folders[0], PLACES[name])
    found = read_set(task(name), find_pack(task(name), tmp_path))
    assert found.root == folder and found.folder == folder / PLACES[name]
    assert found.listings["train800"].files == tuple(BIRDS["train"])
    assert {split: len(part.files) for split, part in found.listings.items()} == {"train800": 5, "val200": 2, "test": 4}
    assert found.listings["val200"].entries[1] == "val.json entry '0818/c.png'"
    for listing in found.listings.values():
        assert all((found.folder / file).is_file() for file in listing.files)


@pytest.mark.parametrize("place", ["images", "Images", ""])
def test_any_set_may_have_any_layout(tmp_path, place):
    assert read_set(task("cars"), make_set(tmp_path, place)).folder == tmp_path / place


def test_labels_are_numbered_over_the_union_of_the_splits(tmp_path):
    found = read(make_set(tmp_path))
    assert found.classes == 5
    labels = {split: listing.labels for split, listing in found.listings.items()}
    assert labels["train800"].tolist() == [2, 0, 4, 3, 2] and labels["train800"].dtype == np.int64
    assert labels["val200"].tolist() == [4, 3]
    assert labels["test"].tolist() == [0, 4, 1, 2]
    for split, name in zip(labels, NAMES, strict=True):
        ids = list(BIRDS[name].values())
        assert labels[split].tolist() == [UNION[one] for one in ids]
        alone = {one: place for place, one in enumerate(sorted(set(ids)))}  # the public loaders' numbering
        assert labels[split].tolist() != [alone[one] for one in ids]


def test_classes_without_a_training_image(tmp_path):
    found = read(make_set(tmp_path))
    assert first_untrained(found.listings, found.classes) == (1, 1) and found.untrained == 1  # id 5
    edit(tmp_path, "val", {"0817/d.png": 5})
    assert read(tmp_path).untrained == 0


def test_ids_may_be_strings_of_digits(tmp_path):
    make_set(tmp_path)
    plain = read(tmp_path)
    edit(tmp_path, "val", {"0817/d.png": "1010", "0818/c.png": "020"})
    assert read(tmp_path).classes == plain.classes
    assert read(tmp_path).listings["val200"].labels.tolist() == [4, 3]


def test_other_counts_than_those_of_the_task_are_noted(tmp_path):
    assert note(task("nabirds"), read(make_set(tmp_path))) == (
        "json splits: not verified against VPT's files; sizes 5/2/4 instead of 21536/2393/24633; "
        "5 classes instead of 555; 1 classes without a training image"
    )


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"0818/c.png": 2.0}, r"val\.json entry '0818/c\.png': the class id 2\.0 is not an integer"),
        ({"0818/c.png": True}, r"val\.json entry '0818/c\.png': the class id true is not an integer"),
        ({"0818/c.png": None}, r"the class id null is not an integer"),
        ({"0818/c.png": "7a"}, r'the class id "7a" is not an integer'),
        ({"0818/c.png": "٣"}, r"is not an integer"),
        ({"0818/c.png": [7]}, r"the class id \[7\] is not an integer"),
        ({"0818/c.png": {}}, r"the class id {} is not an integer"),
        ({"0818/c.png": -1}, r"the class id -1 is negative; write 0 or more"),
        ({"../images/0817/d.png": 7}, r"val\.json entry '\.\./images/0817/d\.png' points outside the set"),
        ({"/etc/passwd": 7}, r"val\.json entry '/etc/passwd' points outside the set"),
        ({"0817/none.png": 7}, r"val\.json entry '0817/none\.png': the image is not in .*/images \(No such file"),
        ({"a\0b.png": 7}, r"val\.json entry 'a\\x00b\.png': the name holds a control character; rename"),
        ({"a\tb.png": 7}, r"val\.json entry 'a\\tb\.png': the name holds a control character; rename"),
        ({"a\ud800.png": 7}, r"val\.json entry 'a\\ud800\.png': the name is not UTF-8; rename"),
        ({"a\udce4.png": 7}, r"val\.json entry 'a\\udce4\.png': the name is not UTF-8; rename"),  # b"a\xe4.png"
        ({"0817": 7}, r"val\.json entry '0817': the image is not a file"),
        ({"": 7}, r"val\.json entry '\.': the image is not a file"),
        ({"0817/a.png": 7}, r"the image '0817/a\.png' is listed twice, in train\.json and val\.json; keep one"),
        ({"./0817/d.png": 7}, r"the image '0817/d\.png' is listed twice, in val\.json and val\.json"),
        ({"x" * 99: 2.5}, r"entry 'x{56}\.\.\.: the class id 2\.5"),
    ],
)
def test_a_bad_entry_is_named(tmp_path, entry, says):
    edit(make_set(tmp_path), "val", entry)
    assert re.search(says, refused(tmp_path))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not json"),
        (b'{"a.png": 1', "is not json"),
        (b"\xff\x00", "is not json"),
        (b"[" * 100_000, "is not json"),
        (b'["a.png"]', r'holds \["a\.png"\]; write an object'),
        (b"7", "holds 7; write an object"),
        (b"{}", "lists no images"),
        (b'{"0817/d.png": 7, "0817/d.png": 3}', r"lists '0817/d\.png' twice; keep one"),
    ],
)
def test_a_json_file_without_a_list_of_images_is_named(tmp_path, name, content, says):
    (make_set(tmp_path) / f"{name}.json").write_bytes(content)
    assert re.search(rf"{name}\.json {says}", refused(tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_json_file_is_named(tmp_path, name):
    (make_set(tmp_path) / f"{name}.json").unlink()
    assert f"has no {name}.json; the folder of nabirds holds the images with train.json, val.json" in refused(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads anything")
def test_an_unreadable_json_file_is_named(tmp_path):
    (make_set(tmp_path) / "val.json").chmod(0)
    assert re.search(r"cannot read .*val\.json: Permission denied", refused(tmp_path))


def test_what_never_ends_is_not_read(tmp_path):
    path = make_set(tmp_path) / "images/0817/b.png"
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        path.unlink()
        make(path)
        assert "train.json entry '0817/b.png': the image is not a file" in refused(tmp_path)
    (tmp_path / "val.json").unlink()
    os.mkfifo(tmp_path / "val.json")
    assert "has no val.json" in refused(tmp_path)


def test_images_in_no_known_folder_and_empty_images_are_named(tmp_path):
    make_set(tmp_path)
    (tmp_path / "images/0818/e.png").write_bytes(b"")
    assert "test.json entry '0818/e.png': the image is empty" in refused(tmp_path)
    (tmp_path / "images").rename(tmp_path / "pictures")
    line = refused(tmp_path)
    assert (
        "train.json entry '0817/a.png' is in none of the folders" in line and f"{tmp_path}/Images, {tmp_path};" in line
    )


def test_a_byte_order_mark_is_ignored(tmp_path):
    path = make_set(tmp_path) / "val.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(tmp_path).listings["val200"].labels.tolist() == [4, 3]


def test_the_stamp_depends_on_content_and_not_on_the_place(tmp_path):
    stamps = [read(make_set(tmp_path / "a")).stamp]
    moved = (tmp_path / "a").rename(tmp_path / "b")
    assert read(moved).stamp == stamps[0]
    image = moved / "images/0817/d.png"
    image.write_bytes(image.read_bytes() + b"\0")
    stamps.append(read(moved).stamp)
    os.utime(image, ns=(0, 0))
    assert read(moved).stamp == stamps[-1]
    edit(moved, "test", {"0818/f.png": 3})
    stamps.append(read(moved).stamp)
    assert len(set(stamps)) == 3
