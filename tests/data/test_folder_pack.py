"""Folder packs: found, read, and refused with one line that names file, line and remedy."""

import os
from pathlib import Path

import pytest
from packs import make_pack, set_line

from aoft_bench.data import task
from aoft_bench.data.locations import Locations, find_pack
from aoft_bench.data.prepared_task import prepare
from aoft_bench.data.sources.folder import from_folder, read_pack
from aoft_bench.utils.errors import UserError

OWN = task("folder")


def refused(root: Path, name: str = "folder") -> str:
    """The one line with which a pack is refused."""
    with pytest.raises(UserError) as raised:
        read_pack(task(name), find_pack(task(name), root))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_pack_is_read(tmp_path):
    pack = read_pack(OWN, make_pack(tmp_path, class_names=True))
    assert pack.classes == 3 and pack.class_names == ("class 0", "class 1", "class 2")
    assert pack.listings["test"].labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert pack.listings["val200"].entries[1] == "val200.txt line 2"


def test_a_folder_may_have_any_name_and_the_note_is_text(tmp_path):
    root = tmp_path / os.fsdecode(b"p\xe4ck\x1b[1m")
    pack = from_folder(OWN, Locations(tmp_path / "cache", make_pack(root)))
    assert pack.note == r"folder pack p\udce4ck\x1b[1m, images .png" and pack.stamp == read_pack(OWN, root).stamp


def test_file_names_may_hold_spaces_and_lists_blank_lines_and_a_bom(tmp_path):
    make_pack(tmp_path)
    (tmp_path / "images/test/000000.png").rename(tmp_path / "images/test/a b 7.png")
    set_line(tmp_path, "test", 1, "\ufeff./images/test/a b 7.png\t0\n\n")
    assert read_pack(OWN, tmp_path).listings["test"].files[0] == "images/test/a b 7.png"


@pytest.mark.parametrize("folder", ["cifar", "cifar100"])
def test_a_pack_is_found_under_its_aliases_and_in_the_default_places(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AOFT_BENCH_DATA", str(tmp_path / "elsewhere"))
    make_pack(tmp_path / "elsewhere" / folder)
    assert find_pack(task("cifar100"), None) == tmp_path / "elsewhere" / folder
    assert find_pack(task("cifar100"), tmp_path / "elsewhere") == tmp_path / "elsewhere" / folder
    (tmp_path / "data/packs" / folder).mkdir(parents=True)
    assert find_pack(task("cifar100"), None) == Path("data/packs") / folder


def test_missing_data_says_what_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AOFT_BENCH_DATA", raising=False)
    with pytest.raises(UserError, match=r"looked for data/packs/cifar, data/packs/cifar100 .*data\.root=") as raised:
        find_pack(task("cifar100"), None)
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=r"dataset=folder needs data\.root="):
        find_pack(OWN, None)
    with pytest.raises(UserError, match="does not exist"):
        find_pack(OWN, tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no train800.txt, nor a folder cifar or cifar100"):
        find_pack(task("cifar100"), tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("images/val200/000001.png", r"val200.txt line 2: got 'images/val200/000001.png'; write"),
        ("images/val200/000001.png one", r"val200.txt line 2: the label 'one' is not an integer"),
        ("images/val200/000001.png 1.0", r"val200.txt line 2: the label '1.0' is not an integer"),
        ("images/val200/000001.png -1", r"val200.txt line 2: the label -1 is negative"),
        (
            "images/val200/000001.png 3",
            r"line 2: the label 3 is out of range for the 3 classes in classes.txt; .*0 to 2",
        ),
        ("../images/val200/000001.png 1", r"val200.txt line 2: .* points outside the pack"),
        ("/etc/000001.png 1", r"val200.txt line 2: .* points outside the pack"),
        ("images/val200/none.png 1", r"val200.txt line 2: the image 'images/val200/none.png' is not there"),
        ("images/val200 1", r"val200.txt line 2: the image 'images/val200' is not a file"),
        ("images/val200/000000.png 1", r"listed twice, in val200.txt line 1 and val200.txt line 2"),
        ("images/train800/000003.png 1", r"listed twice, in train800.txt line 4 and val200.txt line 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, says):
    import re

    set_line(make_pack(tmp_path, class_names=True), "val200", 2, line)
    assert re.search(says, refused(tmp_path))


def test_train_and_test_may_not_share_an_image(tmp_path):
    set_line(make_pack(tmp_path), "test", 6, "images/train800/000002.png 2")
    assert "in train800.txt line 3 and test.txt line 6" in refused(tmp_path)


@pytest.mark.parametrize("split", ["train800", "val200", "test"])
def test_a_missing_or_empty_list_is_named(tmp_path, split):
    make_pack(tmp_path)
    (tmp_path / f"{split}.txt").write_text("\n")
    assert f"{split}.txt lists no images" in refused(tmp_path)
    (tmp_path / f"{split}.txt").unlink()
    assert f"has no {split}.txt;" in refused(tmp_path)
    (tmp_path / "train800val200.txt").write_text("images/train800/000000.png 0\n")
    assert ("alone does not tell the two apart" in refused(tmp_path)) == (split != "test")


def test_a_list_that_is_not_text_is_named(tmp_path):
    (make_pack(tmp_path) / "test.txt").write_bytes(b"\xff\xfe\x00")
    assert "test.txt is not UTF-8 text" in refused(tmp_path)


def test_labels_and_class_counts_of_a_known_task(tmp_path):
    make_pack(tmp_path, classes=3)
    set_line(tmp_path, "test", 1, "images/test/000000.png 10")
    assert "the label 10 is out of range for the 10 classes of eurosat; allowed: 0 to 9" in refused(tmp_path, "eurosat")
    (tmp_path / "classes.txt").write_text("".join(f"{i}\n" for i in range(11)))
    assert "names 11 classes but eurosat has 10" in refused(tmp_path, "eurosat")
    (tmp_path / "classes.txt").write_text("a\n\nb\n")
    assert "classes.txt line 2 is empty" in refused(tmp_path, "eurosat")


def test_a_class_without_training_images(tmp_path):
    make_pack(tmp_path)
    set_line(tmp_path, "test", 1, "images/test/000000.png 4")
    assert "no image of class 3 and 1 more in train800.txt or val200.txt" in refused(tmp_path)
    # a VTAB pack may leave classes out (sun397: 1000 images of 397 classes), and says so
    assert read_pack(task("dtd"), tmp_path).untrained == 44
    # nothing of the size of a label is made
    set_line(tmp_path, "test", 1, "images/test/000000.png 300000000")
    assert "no image of class 3 and 299,999,997 more in" in refused(tmp_path)


def test_one_class_is_not_a_task(tmp_path):
    assert "has 1 class; classification needs at least 2" in refused(make_pack(tmp_path, classes=1))


def test_the_stamp_depends_on_content_and_not_on_the_place(tmp_path):
    first = make_pack(tmp_path / "a")
    stamp = read_pack(OWN, first).stamp
    moved = first.rename(tmp_path / "b")
    assert read_pack(OWN, moved).stamp == stamp
    image = moved / "images/val200/000000.png"
    image.write_bytes(image.read_bytes() + b"\0")
    changed = read_pack(OWN, moved).stamp
    assert changed != stamp
    set_line(moved, "test", 1, "images/test/000000.png 1")
    assert read_pack(OWN, moved).stamp not in (stamp, changed)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: content[: len(content) // 2], "truncated"),
        (lambda content: b"no image at all", "not an image of a known format"),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_unreadable_image_is_named_and_nothing_is_left_behind(tmp_path, damage, says, suffix):
    make_pack(tmp_path / "pack", shape=(40, 40), suffix=suffix)
    image = tmp_path / "pack/images/test" / f"000004{suffix}"
    image.write_bytes(damage(image.read_bytes()))
    with pytest.raises(UserError, match=rf"000004{suffix} \(test.txt line 5\): .*{says}.*replace the file"):
        prepare(OWN, Locations(tmp_path / "cache", tmp_path / "pack"), image_size=64)
    assert not list((tmp_path / "cache").rglob("*.npy")) and not list((tmp_path / "cache").glob("*/.*"))


def test_an_image_that_is_empty_huge_or_no_file_is_found_before_it_is_read(tmp_path):
    image = make_pack(tmp_path) / "images/test/000001.png"
    for make, says in (
        (Path.touch, "is empty"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a file"),
        (lambda path: path.touch() or os.truncate(path, 10**12), "has 1000.0 GB, more than any image"),
    ):
        image.unlink()
        make(image)
        assert f"test.txt line 2: the image 'images/test/000001.png' {says}; restore it" in refused(tmp_path)
    image.unlink()
    os.mkfifo(tmp_path / "classes.txt")
    assert "classes.txt: not a regular file; " in refused(tmp_path)
    (tmp_path / "test.txt").unlink()
    os.mkfifo(tmp_path / "test.txt")
    assert "has no test.txt" in refused(tmp_path)
