"""Exported packs: images bit for bit, lists as other programs read them, complete packs or none."""

import gzip
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from filelock import FileLock
from packs import SIZES, make_pack
from PIL import Image

from aoft_bench import __version__
from aoft_bench.data import TASKS, task
from aoft_bench.data.decode import decode
from aoft_bench.data.locations import Locations
from aoft_bench.data.manifest import read as read_manifest
from aoft_bench.data.packs.write import export, pack_folder, write_pack
from aoft_bench.data.prepared_task import PreparedTask, prepare
from aoft_bench.data.sources.choose import SOURCES
from aoft_bench.utils.errors import UserError

OWN = task("folder")
GREY = np.linspace(0, 255, 144).round().astype(np.uint8).reshape(12, 12)


def exported(
    folder: Path, name: str = "folder", size: int = 16, out: str = "out", root: str | None = "pack"
) -> tuple[PreparedTask, Path]:
    """The pack `root` of a folder, exported to `out` in it."""
    locations = Locations(folder / "cache", folder / root if root else None)
    return export(task(name), locations, image_size=size, interpolation="bicubic", out=folder / out)


def read_back(folder: Path, pack: Path, name: str = "folder", size: int = 16) -> PreparedTask:
    """An exported pack prepared again, in a cache of its own."""
    return prepare(task(name), Locations(folder / "again", pack), image_size=size)


def as_noah_reads(pack: Path, split: str) -> list[tuple[np.ndarray, int]]:
    """(RGB image, label) of each line, read as NOAH and its followers read a pack."""
    found = []
    with open(pack / f"{split}.txt") as lines:
        for line in lines:
            name, label = line.strip().split(" ")
            with Image.open(os.path.join(pack, name)) as image:
                found.append((np.array(image.convert("RGB")), int(label)))
    return found


def files(pack: Path) -> dict[str, bytes]:
    return {str(path.relative_to(pack)): path.read_bytes() for path in pack.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [16, 12, 8])
def test_a_pack_comes_back_bit_for_bit(tmp_path, size):
    make_pack(tmp_path / "pack", class_names=True)
    ready, pack = exported(tmp_path, size=size)
    again = read_back(tmp_path, pack, size=size)
    assert (ready.squashed_by is None) == (size >= 12)
    assert pack == tmp_path / "out/folder" and again.fingerprint == ready.fingerprint
    assert again.manifest == ready.manifest and again.class_names == ready.class_names
    for split, count in SIZES.items():
        assert len(os.listdir(pack / "images" / split)) == count
        for index in range(count):
            name = f"images/{split}/{index:06d}.png"
            np.testing.assert_array_equal(decode(pack / name, ""), decode(tmp_path / "pack" / name, ""))


def test_images_of_several_sizes_are_exported_at_their_own(tmp_path):
    make_pack(tmp_path / "pack", shape=[(12, 20), (9, 30), (40, 11)])
    ready, pack = exported(tmp_path)
    assert ready.shape == (16, 16, 3)
    assert [image.shape for image, _ in as_noah_reads(pack, "val200")] == [(12, 20, 3), (9, 30, 3), (40, 11, 3)]
    for size in (16, 24):
        mine, theirs = read_back(tmp_path, pack, size=size), exported(tmp_path, size=size, out=f"out{size}")[0]
        assert mine.fingerprint == theirs.fingerprint and mine.shape == (size, size, 3)


def test_the_lists_are_those_that_others_read(tmp_path):
    make_pack(tmp_path / "pack", sizes={"train800": 300, "val200": 2, "test": 4}, shape=(3, 5))  # more than a block
    ready, pack = exported(tmp_path)
    first = (pack / "val200.txt").read_text()
    assert first == "images/val200/000000.png 0\nimages/val200/000001.png 1\n"
    for split in ("train800", "val200", "train800val200"):
        images, labels = ready.train(split)
        read = as_noah_reads(pack, split)
        assert [label for _, label in read] == labels.tolist()
        np.testing.assert_array_equal(np.stack([image for image, _ in read]), images)
    assert (pack / "train800val200.txt").read_text() == (pack / "train800.txt").read_text() + first
    assert sorted(os.listdir(pack)) == [
        "README.txt",
        "images",
        "manifest.tsv.gz",
        *("test.txt", "train800.txt", "train800val200.txt", "val200.txt"),
    ]


def test_a_grey_pack_stays_grey(tmp_path):
    make_pack(tmp_path / "pack")
    for path in (tmp_path / "pack").rglob("*.png"):
        with Image.open(path) as image:
            image.convert("L").save(path)
    for size in (16, 8):
        ready, pack = exported(tmp_path, size=size, out=f"out{size}")
        assert ready.shape == (min(size, 12), min(size, 12), 1)
        with Image.open(pack / "images/test/000005.png") as image:
            assert image.mode == "L"
        assert read_back(tmp_path, pack, size=size).fingerprint == ready.fingerprint


@pytest.mark.parametrize("size", [16, 8])
@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.fromarray(GREY.astype(np.uint16) * 257), {}),
        (Image.fromarray(GREY).convert("P"), {}),
        (Image.fromarray(GREY).convert("P"), {"transparency": bytes(range(256))}),
        (Image.merge("RGBA", [Image.fromarray(GREY)] * 3 + [Image.new("L", (12, 12), 3)]), {}),
        (Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (12, 12), 3)]), {}),
    ],
    ids=["16 bit", "palette", "transparent palette", "RGBA", "LA"],
)
def test_other_modes_are_exported_as_the_decoder_made_them(tmp_path, image, options, size):
    make_pack(tmp_path / "pack")
    for path in (tmp_path / "pack").rglob("*.png"):
        image.save(path, **options)
    ready, pack = exported(tmp_path, size=size)
    with Image.open(pack / "images/val200/000001.png") as written:
        assert written.mode == "RGB" and not written.info
        np.testing.assert_array_equal(np.asarray(written), GREY[..., None].repeat(3, axis=2))
    assert read_back(tmp_path, pack, size=size).fingerprint == ready.fingerprint


def test_an_embedded_task_becomes_a_pack(tmp_path):
    ready, pack = exported(tmp_path, "digits", 6, root=None)
    assert pack == tmp_path / "out/digits"
    source = SOURCES["embedded"](task("digits"), Locations(tmp_path))
    for index in (0, 7, 199):
        with Image.open(pack / f"images/val200/{index:06d}.png") as image:
            assert image.mode == "L" and (image.height, image.width) == (8, 8)
            np.testing.assert_array_equal(np.asarray(image), source.read("val200", index).image[..., 0])
    again = read_back(tmp_path, pack, size=6)
    assert again.fingerprint == ready.fingerprint and again.sizes == dict(task("digits").sizes)


def make_json_set(root: Path) -> None:
    """Three splits with the class ids 4, 7 and 9, of which val has only the last."""
    rng = np.random.default_rng(0)
    for split, ids in {"train": [4, 9, 7, 4], "val": [9], "test": [7, 4, 9]}.items():
        (root / "images" / split).mkdir(parents=True)
        entries = {f"{split}/{index} a.jpg": class_id for index, class_id in enumerate(ids)}
        for index, name in enumerate(entries):
            pixels = rng.integers(0, 256, (20 + index, 31, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name)
        (root / f"{split}.json").write_text(json.dumps(entries))


def test_a_json_set_becomes_a_folder_pack_at_native_size(tmp_path):
    make_json_set(tmp_path / "pack")
    ready, pack = exported(tmp_path, "cub", 14)
    assert ready.shape is None and pack == tmp_path / "out/CUB_200_2011"
    assert [label for _, label in as_noah_reads(pack, "train800val200")] == [0, 2, 1, 0, 2]
    for index, (image, _) in enumerate(as_noah_reads(pack, "test")):
        np.testing.assert_array_equal(image, decode(tmp_path / "pack/images/test" / f"{index} a.jpg", ""))
    assert [row.id for row in read_manifest(pack / "manifest.tsv.gz")["val200"]] == ["val/0 a.jpg"]
    assert read_back(tmp_path, pack).sizes == {"train800": 4, "val200": 1, "test": 3}
    assert "aoft_bench dataset=folder data.source=folder data.root=" in (pack / "README.txt").read_text()


def test_the_folder_is_named_as_the_published_pack_and_no_two_are_alike(tmp_path):
    assert pack_folder(task("cifar100"), tmp_path) == tmp_path / "cifar"
    assert pack_folder(task("smallnorb_elevation"), tmp_path) == tmp_path / "smallnorb_ele"
    assert pack_folder(task("digits"), Path("~/x")) == Path.home() / "x/digits"
    assert len({pack_folder(entry, tmp_path) for entry in TASKS.values()}) == len(TASKS)


def test_the_manifest_is_that_of_the_cache_and_the_readme_quotes_it(tmp_path):
    make_pack(tmp_path / "pack" / "eurosat", suffix=".jpg")
    ready, pack = exported(tmp_path, "eurosat")
    assert (pack / "manifest.tsv.gz").read_bytes() == (ready.directory / "manifest.tsv.gz").read_bytes()
    text = gzip.decompress((pack / "manifest.tsv.gz").read_bytes())
    about = (pack / "README.txt").read_text()
    assert hashlib.sha256(text).hexdigest() in about and ready.fingerprint in about and __version__ in about
    for part in ("train800 6, val200 3, test 6", "folder pack eurosat, images .jpg", "not verified", "classes      10"):
        assert part in about
    assert "doctor --compare <this folder> <the other one> dataset=eurosat" in about
    assert "not the originals" not in about and "of these images, 12 x 12 x 3" in about
    assert str(tmp_path) not in about
    squashed = exported(tmp_path, "eurosat", 8, "out8")[1] / "README.txt"
    assert "of resized copies of these images, 8 x 8 x 3" in squashed.read_text()
    assert "not the originals" in squashed.read_text()


@pytest.mark.parametrize("size", [16, 8])
def test_two_exports_are_equal_file_by_file(tmp_path, size):
    make_pack(tmp_path / "pack", class_names=True)
    first = exported(tmp_path, size=size)[1]
    shutil.rmtree(tmp_path / "cache")
    second = exported(tmp_path, size=size, out="elsewhere/deep")[1]
    assert files(first) == files(second) and len(files(first)) == sum(SIZES.values()) + 7
    exported_again = export(
        OWN, Locations(tmp_path / "third", first), image_size=size, interpolation="bicubic", out=tmp_path / "third_out"
    )[1]
    # but for the name of the source
    assert {name for name, content in files(exported_again).items() if files(first)[name] != content} <= {"README.txt"}


def test_an_image_that_is_not_the_prepared_one_is_named(tmp_path):
    make_pack(tmp_path / "pack")
    ready, _ = exported(tmp_path)
    source = SOURCES["embedded"](task("digits"), Locations(tmp_path))
    with pytest.raises(UserError, match="image 0 of train800 is not the one that was prepared.*delete"):
        write_pack(ready, source.read, tmp_path / "other/folder")
    assert not (tmp_path / "other").exists()


def refused(folder: Path, **options: str) -> str:
    """The one line with which an export is refused."""
    with pytest.raises(UserError) as raised:
        exported(folder, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_folder_that_is_not_empty_stays_as_it_is(tmp_path):
    make_pack(tmp_path / "pack")
    target = tmp_path / "out/folder"
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    assert f"the folder {target} is not empty; choose another with out=<folder>, or delete it" == refused(tmp_path)
    assert files(tmp_path / "out") == {"folder/mine.txt": b"mine"}
    assert not (tmp_path / "cache").exists()  # refused before hours of preparing
    (target / "mine.txt").unlink()
    assert exported(tmp_path)[1] == target and len(as_noah_reads(target, "test")) == 6
    assert os.listdir(tmp_path / "out") == ["folder"]


def test_a_folder_filled_meanwhile_is_not_overwritten(tmp_path):
    make_pack(tmp_path / "pack")
    ready, first = exported(tmp_path)
    target = tmp_path / "late/folder"
    read = SOURCES["folder"](OWN, Locations(tmp_path / "cache", tmp_path / "pack")).read

    def meanwhile(split, index):
        if not target.exists():
            shutil.copytree(first, target)
            (target / "README.txt").write_text("of another process")
        return read(split, index)

    with pytest.raises(UserError, match="is not empty"):
        write_pack(ready, meanwhile, target)
    assert (target / "README.txt").read_text() == "of another process" and os.listdir(target.parent) == ["folder"]


@pytest.mark.parametrize("link", [True, False])
def test_a_file_or_a_link_is_not_replaced(tmp_path, link):
    make_pack(tmp_path / "pack")
    (tmp_path / "out").mkdir()
    (tmp_path / "empty").mkdir()
    if link:
        (tmp_path / "out/folder").symlink_to(tmp_path / "empty")
    else:
        (tmp_path / "out/folder").write_text("mine")
    assert "is there already, and is no folder; choose another with out=" in refused(tmp_path)
    assert os.listdir(tmp_path / "out") == ["folder"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    make_pack(tmp_path / "pack")
    (tmp_path / "out").write_text("a file")
    assert "cannot write the pack" in (said := refused(tmp_path)) and "out=<folder>" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder_is_named(tmp_path):
    make_pack(tmp_path / "pack")
    (tmp_path / "out").mkdir(mode=0o500)
    assert "Permission denied; choose another folder with out=" in refused(tmp_path)


def test_a_full_disk_is_reported_before_writing(tmp_path, monkeypatch):
    make_pack(tmp_path / "pack")
    exported(tmp_path, out="first")  # the cache is there now
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=61_000))
    # 15 files of noise, 12 x 12 x 3, take a cluster of 4096 bytes each
    assert "the disk is full: cannot write the pack" in (said := refused(tmp_path))
    assert "about 0.1 MB are needed, 0.1 MB are free" in said and "out=<folder>" in said
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=15 * 4096))
    assert exported(tmp_path)[1].is_dir()


def test_a_disk_that_fills_while_writing_leaves_nothing_behind(tmp_path):
    make_pack(tmp_path / "pack", shape=(100, 100))  # noise: a PNG file of 30 kB each
    exported(tmp_path, size=128, out="first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match="the disk is full: cannot write the pack .*free some space or choose"):
            exported(tmp_path, size=128, out="deep/out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "deep").exists()


def test_an_unreadable_image_leaves_nothing_behind(tmp_path):
    make_pack(tmp_path / "pack")
    exported(tmp_path, size=8, out="first")
    image = tmp_path / "pack/images/test/000004.png"
    found = image.stat()
    image.write_bytes(b"x" * found.st_size)
    os.utime(image, ns=(found.st_atime_ns, found.st_mtime_ns))  # so that the cache is still taken for its own
    assert "000004.png (test.txt line 5): not an image" in refused(tmp_path, size=8)
    assert not (tmp_path / "out").exists()


EXPORT = """
import sys, time
from pathlib import Path
from aoft_bench.data import task
from aoft_bench.data.locations import Locations
from aoft_bench.data.packs.write import write_pack
from aoft_bench.data.prepared_task import prepare
from aoft_bench.data.sources.choose import SOURCES

folder = Path(sys.argv[1])
locations = Locations(folder / "cache", folder / "pack")
read = SOURCES["folder"](task("folder"), locations).read

def slowly(split, index):
    time.sleep(0.05)
    return read(split, index)

write_pack(prepare(task("folder"), locations, image_size=16), slowly, folder / "out/folder")
"""


def start_exporting(folder: Path) -> subprocess.Popen:
    """An export that has started to write, and takes seconds."""
    process = subprocess.Popen([sys.executable, "-c", EXPORT, str(folder)], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while len(list((folder / "out").glob(".folder-*.partial/images/*/*.png"))) < 5:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_a_killed_export_leaves_no_pack_and_the_next_one_cleans_up(tmp_path):
    make_pack(tmp_path / "pack", sizes={"train800": 200, "val200": 3, "test": 6})
    process = start_exporting(tmp_path)
    assert "another process is exporting to" in refused(tmp_path)
    process.kill()
    process.communicate()
    left = os.listdir(tmp_path / "out")
    assert any(name.endswith(".partial") for name in left) and all(name.startswith(".") for name in left)
    _, pack = exported(tmp_path)
    assert os.listdir(tmp_path / "out") == ["folder"] and len(as_noah_reads(pack, "train800")) == 200


@pytest.mark.slow
def test_an_interrupted_export_leaves_nothing(tmp_path):
    make_pack(tmp_path / "pack", sizes={"train800": 200, "val200": 3, "test": 6})
    process = start_exporting(tmp_path)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert not (tmp_path / "out").exists()


def test_a_lock_file_that_no_process_holds_is_ignored(tmp_path):
    make_pack(tmp_path / "pack")
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out/.folder.lock"):
        assert "another process is exporting to" in refused(tmp_path)
    (tmp_path / "out/.folder.lock").touch()
    exported(tmp_path)
    assert os.listdir(tmp_path / "out") == ["folder"]


MAKE_DTD = """
import io, sys
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

class Dtd(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("3.0.1")

    def _info(self):
        named = tfds.features.ClassLabel(names=[f"texture {index}" for index in range(47)])
        features = {"file_name": tfds.features.Text(), "image": tfds.features.Image(), "label": named}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        sizes = {"train": 810, "validation": 203, "test": 5}
        return {split: self._generate_examples(split, count) for split, count in sizes.items()}

    def _generate_examples(self, split, count):
        rng = np.random.default_rng(count)
        for index in range(count):
            image = Image.fromarray(rng.integers(0, 256, (4 + index % 3, 5, 3), dtype=np.uint8))
            image.save(content := io.BytesIO(), "PNG")
            content.seek(0)
            yield index, {"file_name": f"{split}/{index}", "image": content, "label": index % 47}

Dtd(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""


@pytest.mark.slow
def test_originals_of_tfds_are_exported_by_the_preparing_process(tmp_path):
    """As TFDS would have prepared dtd, but small, and without TensorFlow; its images differ in size."""
    (tmp_path / "make.py").write_text(MAKE_DTD)
    subprocess.run([sys.executable, tmp_path / "make.py", tmp_path / "tfds"], check=True, capture_output=True)
    locations = Locations(tmp_path / "cache", None, "tfds", tmp_path / "tfds")
    options = {"image_size": 6, "interpolation": "bicubic", "out": tmp_path / "out"}
    theirs = tmp_path / "out/.dtd-1.partial"
    theirs.mkdir(parents=True)
    with FileLock(tmp_path / "out/.dtd.lock"), pytest.raises(UserError, match="another process is exporting to"):
        export(task("dtd"), locations, **options)
    assert theirs.is_dir()  # what another process is writing stays
    ready, pack = export(task("dtd"), locations, **options)
    assert ready.squashed_by == "bicubic" and ready.source == "tfds" and os.listdir(tmp_path / "out") == ["dtd"]
    shapes = {image.shape for split in SIZES for image, _ in as_noah_reads(pack, split)}
    assert shapes == {(4, 5, 3), (5, 5, 3), (6, 5, 3)}
    rows = read_manifest(pack / "manifest.tsv.gz", ready.manifest)["test"]
    assert sorted(row.id for row in rows) == [f"test/{index}" for index in range(5)]
    assert [label for _, label in as_noah_reads(pack, "test")] == [int(row.id[5:]) for row in rows]
    again = read_back(tmp_path, pack, "dtd", 6)
    assert again.fingerprint == ready.fingerprint and again.class_names == ready.class_names
    assert ready.class_names is not None and ready.class_names[0] == "texture 0"


def run(cli: Command, folder: Path, *words: str):
    return cli("export", *words, f"data.cache={folder / 'cache'}")


def test_the_command_exports_and_says_what(tmp_path, cli):
    make_pack(tmp_path / "packs/eurosat")
    done = run(cli, tmp_path, "dataset=eurosat,digits", "out=here", "data.root=packs", "format=folder")
    assert done.code == 0 and not done.err
    first, second = done.out.splitlines()[0], done.out.splitlines()[2]
    assert first.startswith("eurosat: 15 images (12 x 12 x 3), 0.0 MB, from folder pack eurosat, images .png, ")
    assert second.startswith("digits: 1,797 images (8 x 8 x 1), ") and done.out.splitlines()[1] == "  here/eurosat"
    assert sorted(os.listdir(tmp_path / "here")) == ["digits", "eurosat"]
    again = run(cli, tmp_path, "dataset=eurosat,digits", "out=here", "data.root=packs")
    assert again.code == 2 and not again.out and "2 of 2 tasks could not be exported" in again.err
    assert again.err.count("is not empty; choose another") == 2


def test_one_task_that_fails_does_not_stop_the_others(tmp_path, cli):
    make_pack(tmp_path / "packs/eurosat")
    done = run(cli, tmp_path, "dataset=dtd,eurosat", "out=here", "data.root=packs")
    assert done.code == 2 and "eurosat: 15 images" in done.out and "holds no train800.txt" in done.err
    assert "1 of 2 tasks could not be exported" in done.err and os.listdir(tmp_path / "here") == ["eurosat"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dataset=digits", "out="], "where to? give out=<folder>"),
        (["out=x"], "which dataset? give dataset="),
        (["dataset=digits", "out=x", "out=y"], "out= is given 2 times (x, y); give it once"),
        (["dataset=digit", "out=x"], "unknown dataset or suite 'digit' (did you mean 'digits'?)"),
        (["dataset=digits", "out=x", "data.cahce=y"], "'cahce' (did you mean 'cache'?)"),
    ],
)
def test_a_wrong_word_is_one_line(tmp_path, cli, words, says):
    done = cli("export", *words)
    assert done.code == 2 and says in done.err and done.err.count("\n") == 1 and not done.out
    assert not list(tmp_path.iterdir())
