"""Mistakes in the images of a run: packs, folders, tables, caches."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from conftest import Command, words
from packs import make_images, make_pack, make_table, rows_of, set_line
from wrong_inputs import Case, Cases, World

from aoft_bench import data
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import prepare

CASES = Cases()
case, wrong, asked = CASES.case, CASES.wrong, CASES.asked


wrong("no such pack", "data.root=nowhere", "data.root=nowhere does not exist", "train800.txt")
wrong("no data", "dataset=cifar100 data.root=null", "no data for cifar100", "data/packs", "data.root=<folder>")
wrong("no FGVC set", "dataset=cub data.root=null", "no folder of cub", "data/packs/CUB_200_2011", "train.json")
wrong("no ImageNet", "dataset=imagenet data.root=null", "no folder of imagenet", "data/packs/domainshift", "sketch")
wrong("ImageNet of a pack", "dataset=imagenet data.shots=16", "data.root=pack holds no imagenet", "as their archives")
wrong("FGVC set of a pack", "dataset=cub", "data.root=pack holds no train.json", "CUB_200_2011 or cub", "val.json")
wrong("unknown source", "data.source=tfd", "data.source: got 'tfd'", "did you mean 'tfds'")
wrong("TFDS for one's own", "dataset=digits data.source=tfds data.root=null", "digits: data.source=tfds")
wrong(
    "a pack for a generated task", "dataset=digits", "digits is generated", "data.root=pack cannot act", "leave it out"
)
wrong(
    "TFDS and a pack", "dataset=cifar100 data.source=tfds", "data.source=tfds and data.root=pack contradict each other"
)
wrong("a taken name", "dataset.name=cifar100", "dataset.name=cifar100 is a task of the table", "another name")
wrong("a name that is a path", "dataset.name=../mine", "dataset.name: got '../mine'", "give letters, digits")
wrong("a renamed task", "dataset=digits dataset.name=mine data.root=null", "unknown dataset 'mine'", "dataset=folder")
wrong("a label for a task", "dataset=eurosat data.label=x", "data.label=x is for images of your own", "dataset=folder")
wrong("a label for a pack", "data.label=x", "data.label=x names a column, and data.root=pack has none", "leave it out")
wrong("the hub and a folder", "data.hf=x", "data.hf=x and data.root=pack contradict each other")
wrong("no name on the hub", "data.source=hf data.root=null", "data.source=hf needs data.hf=NAME", "save_to_disk")
wrong("no place", "data.root=null", "dataset=folder needs data.root=", "ImageFolder", ".parquet", "train800.txt")
wrong("an image folder that is a file", "data.source=image_folder data.root=pack/test.txt", "is a file", "a folder")
wrong("no training images", "data.train=0", "data.train: got 0, give all, or a whole number of at least 1")
wrong("half an image", "data.train=1.5", "data.train: got 1.5, give all, or")
wrong("no shots", "data.shots=0", "data.shots: got 0, must be at least 1")
wrong("two numbers of images", "data.train=4 data.shots=1", "data.train=4 and data.shots=1 contradict each other")
wrong("too many images", "data.train=1000", "data.train=1000 needs 800 training images, there are 6", "data.train=all")
wrong("shots of fixed splits", "dataset=digits data.root=null data.shots=1", "digits has fixed splits", "data.shots=1")
wrong(
    "cache in a file", "data.cache=pack/test.txt/x", "cannot write the cache in pack/test.txt/x", "data.cache=<folder>"
)


@case("no list file", "has no val200.txt", "write it")
def _(world: World) -> list[str]:
    (world.pack / "val200.txt").unlink()
    return words(world.options)


@case("missing image", "train800.txt line 2", "'images/train800/000001.png' is not there", "restore it")
def _(world: World) -> list[str]:
    (world.pack / "images/train800/000001.png").unlink()
    return words(world.options)


@case("corrupt image", "images/train800/000001.png", "train800.txt line 2")
def _(world: World) -> list[str]:
    (world.pack / "images/train800/000001.png").write_bytes(b"no image at all")
    return words(world.options)


@case("truncated image", "images/test/000002.png", "test.txt line 3")
def _(world: World) -> list[str]:
    path = world.pack / "images/test/000002.png"
    path.write_bytes(path.read_bytes()[:150])
    return words(world.options)


@case("label out of range", "train800.txt line 1: the label 7 is out of range", "allowed: 0 to 2")
def _(world: World) -> list[str]:
    make_pack(world.pack, class_names=True)
    set_line(world.pack, "train800", 1, "images/train800/000000.png 7")
    return words(world.options)


@case("negative label", "val200.txt line 2: the label -1 is negative", "count from 0")
def _(world: World) -> list[str]:
    set_line(world.pack, "val200", 2, "images/val200/000001.png -1")
    return words(world.options)


@case("label is a word", "train800.txt line 1: the label 'cat' is not an integer", "write 0, 1, 2")
def _(world: World) -> list[str]:
    set_line(world.pack, "train800", 1, "images/train800/000000.png cat")
    return words(world.options)


@case("image outside the pack", "test.txt line 1: '../secret.png' points outside the pack", "relative to it")
def _(world: World) -> list[str]:
    set_line(world.pack, "test", 1, "../secret.png 0")
    return words(world.options)


@case("empty split", "val200.txt lists no images", "write one")
def _(world: World) -> list[str]:
    (world.pack / "val200.txt").write_text("\n")
    return words(world.options)


@case("test image in training", "images/test/000000.png is listed twice", "train800.txt line 1", "test.txt line 1")
def _(world: World) -> list[str]:
    set_line(world.pack, "train800", 1, "images/test/000000.png 0")
    return words(world.options)


@case("wrong class count", "classes.txt names 11 classes but eurosat has 10", "dataset=folder")
def _(world: World) -> list[str]:
    (world.pack / "classes.txt").write_text("".join(f"c{i}\n" for i in range(11)))
    return words(world.options, dataset="eurosat")


def _own(world: World, spoil: Callable[[Path], object]) -> list[str]:
    """The valid cell on an ImageFolder in which something is spoilt."""
    spoil(make_images(world.root / "own", splits={"train": 3, "test": 2}))
    return words(world.options, data__root="own")


@case("empty class folder", "the class folder own/train/cow has no image (.jpg", "or remove the folder")
def _(world: World) -> list[str]:
    return _own(world, lambda root: (root / "train/cow").mkdir())


@case("class without training", "own has no image of class 2 (cow) in its folders of training images; add one")
def _(world: World) -> list[str]:
    return _own(world, lambda root: shutil.copytree(root / "test/bee", root / "test/cow"))


@case("one file in two splits", "train/bee/0.png and test/bee/link.png are one file in two splits; keep one")
def _(world: World) -> list[str]:
    return _own(world, lambda root: (root / "test/bee/link.png").symlink_to(root.absolute() / "train/bee/0.png"))


@case("an image of the user's own", "cannot read the image own/test/bee/1.png", "replace the file")
def _(world: World) -> list[str]:
    return _own(world, lambda root: (root / "test/bee/1.png").write_bytes(b"no image at all"))


def _table(world: World, change: Callable[[list[list[str]]], object], columns: str = "path,label,split") -> list[str]:
    """The valid cell on a table whose rows are changed."""
    rows = rows_of(make_images(world.root / "own", splits={"train": 3, "test": 2}))
    change(rows)
    return words(world.options, data__root=str(make_table(world.root / "own", rows, columns).relative_to(world.root)))


@case("table without the column", "own/images.csv has no column 'label'; its columns: lable, ", "data.label=<column>")
def _(world: World) -> list[str]:
    return _table(world, lambda rows: None, "path,lable,split")


@case("table with a path outside", "images.csv line 12: '../x.png' points outside the folder of the table")
def _(world: World) -> list[str]:
    return _table(world, lambda rows: rows.append(["../x.png", "ant", "train"]))


@case("table with overlapping splits", "line 12: 'train/ant/0.png' is listed twice, first in images.csv line 2; keep")
def _(world: World) -> list[str]:
    return _table(world, lambda rows: rows.append(["train/ant/0.png", "ant", "test"]))


@case("table with gaps", "has no image of class 1 in rows of train or val", "without gaps")
def _(world: World) -> list[str]:
    return _table(world, lambda rows: [row.__setitem__(1, str(2 * (row[1] == "bee"))) for row in rows])


@case("table with an unknown split", "images.csv line 2: the split 'holdout' is unknown; allowed: train, val, test")
def _(world: World) -> list[str]:
    return _table(world, lambda rows: rows[0].__setitem__(2, "holdout"))


@case("no library datasets", "needs the library datasets, which is not installed; pip install -e '.[hf]'")
def _(world: World) -> list[str]:
    import importlib.util

    given = importlib.util.find_spec
    world.patch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "datasets" else given(name, *a))
    return words(world.options | {"data.hf": "some/name", "data.root": "null"})


@case("corrupt cache", "test.npy is corrupt (its SHA-256 does not match)", "delete cache/folder/", "run again")
def _(world: World) -> list[str]:
    path = world.prepared().directory / "test.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return words(world.options)


@case("truncated cache", "train800.npy is truncated or corrupt", "delete cache/folder/", "run again")
def _(world: World) -> list[str]:
    path = world.prepared().directory / "train800.npy"
    path.write_bytes(path.read_bytes()[:-50])
    return words(world.options)


@case("cache of another task", "meta.json is of another cache (dtd/", "delete cache/folder/")
def _(world: World) -> list[str]:
    mine = world.prepared().directory
    other = prepare(data.task("dtd"), Locations(world.root / "elsewhere", world.pack), image_size=32).directory
    shutil.rmtree(mine)
    shutil.copytree(other, mine)
    return words(world.options)


@case("cache of an older version", "has format version 0, this version reads", "delete cache/folder/")
def _(world: World) -> list[str]:
    path = world.prepared().directory / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))
    return words(world.options)


@CASES.each
def test_wrong_input(command: str, make: Case, expected: tuple[str, ...], world: World, cli: Command) -> None:
    CASES.check(command, make, expected, world, cli)
