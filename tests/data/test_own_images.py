"""Images of the user's own: ImageFolder, table and Hugging Face dataset give what a pack of the same images gives."""

import importlib.util
import json
from pathlib import Path

import pyarrow as arrow
import pytest
from packs import make_images, make_pack, make_table, rows_of
from pyarrow import parquet

from aoft_bench.data.compare import compare
from aoft_bench.data.locations import Draw, Locations
from aoft_bench.data.packs.write import export
from aoft_bench.data.prepared_task import PreparedTask, find, prepare
from aoft_bench.data.sources.choose import choose
from aoft_bench.data.tasks import find as find_task
from aoft_bench.data.tasks import own_task
from aoft_bench.data.verify import verify
from aoft_bench.utils.errors import UserError

MINE = own_task("mine")
THREE = {"train": 4, "val": 2, "test": 3}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_images(tmp_path / "images", splits=THREE)


def prepared(root: Path, cache: Path, **options: object) -> PreparedTask:
    return prepare(MINE, Locations(cache, root, **options), image_size=16)  # type: ignore[arg-type]


def refused(root: Path, **options: object) -> str:
    """The one line with which images are refused; nothing is left behind."""
    cache = root.parent / "refused"
    with pytest.raises(UserError) as raised:
        prepared(root, cache, **options)
    assert "\n" not in str(raised.value) and not list(cache.rglob("*.npy")) and not list(cache.rglob("*.partial"))
    return str(raised.value)


def test_an_image_folder_and_its_export_are_the_same_images(images, tmp_path):
    ready = prepared(images, tmp_path / "cache")
    assert (ready.source, ready.classes, ready.class_names) == ("image_folder", 2, ("ant", "bee"))
    assert ready.sizes == {"train800": 8, "val200": 4, "test": 6} and ready.drawn is None and not ready.official
    assert [row.id for row in ready.read_manifest()["val200"]] == [
        f"val/{name}/{index}.png" for name in ("ant", "bee") for index in range(2)
    ]
    assert prepared(images, tmp_path / "cache").directory == ready.directory
    _, pack = export(MINE, Locations(tmp_path / "cache", images), image_size=16, interpolation="bicubic", out=tmp_path)
    again = prepared(pack, tmp_path / "other")
    assert again.source == "folder" and again.fingerprint == ready.fingerprint and compare(ready, again).same


def test_tables_hold_the_same_images(images, tmp_path):
    ready = prepared(images, tmp_path / "cache")
    rows = rows_of(images)
    csv = prepared(make_table(images, rows), tmp_path / "csv")
    assert csv.source == "table" and csv.fingerprint == ready.fingerprint and csv.class_names == ("ant", "bee")
    columns = {
        "bytes": [(images / path).read_bytes() for path, *_ in rows],
        "kind": [["ant", "bee"].index(label) for _, label, _ in rows],
        "split": [{"val": "validation"}.get(split, split) for *_, split in rows],
    }
    parquet.write_table(arrow.table(columns), tmp_path / "images.parquet")
    encoded = prepared(tmp_path / "images.parquet", tmp_path / "parquet", label="kind")
    assert encoded.fingerprint == ready.fingerprint and encoded.class_names is None
    assert encoded.read_manifest()["test"][0].id == "row 12"


def test_names_of_classes_are_sorted_and_the_order_is_kept(images, tmp_path):
    ready = prepared(make_table(images, rows_of(images, {"ant": "zebra"})), tmp_path / "cache")
    assert ready.class_names == ("bee", "zebra") and ready.read("train800").labels.tolist() == [1] * 4 + [0] * 4


def test_splits_that_are_missing_are_drawn_and_noted(tmp_path):
    root = make_images(tmp_path / "flat", splits={"": 10})
    ready = prepared(root, tmp_path / "cache")
    assert ready.sizes == {"train800": 12, "val200": 4, "test": 4}
    assert ready.drawn and ready.drawn["splits"] == ["val200", "test"] and ready.drawn["seed"] == 0
    assert ready.source_note.endswith("val200 and test drawn by rule, seed 0")
    ids = [row.id for rows in ready.read_manifest().values() for row in rows]
    assert sorted(ids) == sorted(f"{name}/{index}.png" for name in ("ant", "bee") for index in range(10))
    other = prepared(root, tmp_path / "cache", draw=Draw(seed=1))
    assert other.fingerprint != ready.fingerprint and other.drawn and other.drawn["pool"] == ready.drawn["pool"]
    few = prepared(root, tmp_path / "cache", draw=Draw(shots=2))
    assert few.sizes == {"train800": 4, "val200": 4, "test": 4} and few.drawn and few.drawn["shots"] == 2
    assert few.read_manifest()["test"] == ready.read_manifest()["test"]
    found = find(MINE, Locations(tmp_path / "cache", root, draw=Draw(shots=2)), image_size=16)
    assert found and found.directory == few.directory
    root = make_images(tmp_path / "two", splits={"train": 10, "val": 2})  # test takes two of the ten
    assert "2 classes have fewer than 9 images" in prepared(root, tmp_path / "cache", draw=Draw(shots=9)).source_note


def test_a_pack_is_drawn_from_too_and_stays_as_it_was_without(tmp_path):
    pack = make_pack(tmp_path / "pack", sizes={"train800": 9, "val200": 3, "test": 3})
    whole, few = prepared(pack, tmp_path / "cache"), prepared(pack, tmp_path / "cache", draw=Draw(shots=2))
    assert whole.drawn is None and few.sizes == {"train800": 6, "val200": 3, "test": 3}
    # the images of another cache: linked where they are the same
    inode = {one.directory: (one.directory / "test.npy").stat().st_ino for one in (whole, few)}
    assert len(set(inode.values())) == 1 and few.directory != whole.directory
    assert not verify(MINE, few.directory).problems
    rows, chosen = whole.read_manifest()["train800"], few.read_manifest()["train800"]
    assert set(chosen) < set(rows)
    images = whole.read("train800").images
    for row, image in zip(chosen, few.read("train800").images, strict=True):
        assert (image == images[rows.index(row)]).all()


def test_names_of_splits_may_have_capitals(images, tmp_path):
    before = prepared(images, tmp_path / "cache")
    (images / "train").rename(images / "Train")
    assert prepared(images, tmp_path / "cache").sizes == before.sizes


def test_what_is_no_image_is_left_out(images, tmp_path):
    before = prepared(images, tmp_path / "cache").fingerprint
    for name in ("train/ant/Thumbs.db", "train/ant/.hidden.png", "train/readme.txt"):
        (images / name).write_text("no image")
    (images / "train/.ipynb_checkpoints").mkdir()
    assert prepared(images, tmp_path / "cache").fingerprint == before


def test_a_place_is_recognised(images, tmp_path):
    def kind(root: Path, **options: str) -> str:
        return choose(MINE, Locations(tmp_path / "cache", root, **options), False)

    assert kind(images) == "image_folder" and kind(make_pack(tmp_path / "pack")) == "folder"
    assert kind(make_table(images, rows_of(images))) == "table"
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/dataset_dict.json").write_text("{}")
    assert kind(tmp_path / "saved") == "hf"
    assert choose(MINE, Locations(tmp_path, hf="some/name"), False) == "hf"
    with pytest.raises(UserError, match=r"is none of these; give a folder pack .*ImageFolder"):
        kind(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda root: (root / "train/cow").mkdir(),
            "the class folder .*train/cow has no image .*; add some, or remove",
        ),
        (
            lambda root: (root / "test/cow").mkdir() or (root / "test/cow/0.png").touch(),
            "has no image of class 2 .cow.",
        ),
        (lambda root: (root / "train/1.png").touch(), "1.png is in no class folder; move it"),
        (lambda root: (root / "train/ant/0.png").write_bytes(b""), "train/ant/0.png is empty; restore it"),
        (
            lambda root: (root / "train/ant/0.png").write_bytes(b"no"),
            r"image .*train/ant/0.png.*not an image of a known",
        ),
        (lambda root: (root / "validation").mkdir(), "has both val/ and validation/; keep one"),
        (lambda root: (root / "train").rename(root / "trian"), "has test/ and no train/; add it, or rename test/"),
        (
            lambda root: (root / "test/ant/9.png").hardlink_to(root / "train/ant/0.png"),
            "train/ant/0.png and test/ant/9.png are one file in two splits",
        ),
    ],
)
def test_a_wrong_image_folder(images, spoil, says):
    import re

    spoil(images)
    assert re.search(says, refused(images))


TABLES = {
    "no label": ("path,lable,split", [], r"no column 'label'; its columns: lable, .*data.label=<column>"),
    "no path": ("file,label,split", [], r"no column 'path'; .*give the files of the images in path"),
    "two labels": ("path,label,label", [], r"has 2 columns 'label'; rename all but one"),
    "gap": ("", ["train/ant/0.png,3,train"], r"has no image of class 2 in rows of train or val; .*without gaps"),
    "label of another kind": ("", ["train/ant/0.png,cat,train"], r"line \d+: the label 'cat' is a name, those before"),
    "huge label": ("", ["train/ant/0.png,99999999999,train"], "the label 99999999999 leaves gaps"),
    "negative label": ("", ["train/ant/0.png,-1,train"], r"the label -1 is negative"),
    "no label in a row": ("", ["train/ant/0.png,,train"], r"line \d+: the label is empty"),
    "unknown split": ("", ["train/ant/0.png,0,tran"], r"the split 'tran' is unknown; allowed: train, val, test"),
    "outside": ("", ["../secret.png,0,train"], r"'../secret.png' points outside the folder of the table"),
    "absolute": ("", ["/secret.png,0,train"], r"'/secret.png' points outside"),
    "missing": ("", ["train/ant/none.png,0,train"], r"line \d+: the image 'train/ant/none.png' is not there"),
    "in two splits": ("", ["test/ant/0.png,0,train"], r"'test/ant/0.png' is listed twice, first in images.csv line"),
    "more values": ("", ["a,b,0,train"], r"line \d+ has 4 values for 3 columns; quote"),
}


@pytest.mark.parametrize(("columns", "lines", "says"), TABLES.values(), ids=TABLES)
def test_a_wrong_table(images, columns, lines, says):
    import re

    rows = [row for row in rows_of(images, {"ant": "0", "bee": "1"}) if not lines or row[0] not in lines[0][:15]]
    rows += [line.split(",") for line in lines]
    if "test/ant/0.png" in "".join(lines):
        rows.append(["test/ant/0.png", "0", "test"])
    assert re.search(says, refused(make_table(images, rows, columns or "path,label,split")))


def test_a_wrong_parquet(tmp_path):
    path = tmp_path / "images.parquet"
    path.write_bytes(b"no parquet")
    assert "cannot read" in refused(path)
    parquet.write_table(arrow.table({"picture": [b"x"], "label": [0]}), path)
    assert "no column 'path'; its columns: " in refused(path)
    twice = arrow.Table.from_arrays(
        [arrow.array([b"x"]), arrow.array([0]), arrow.array([0])], ["bytes", "label", "label"]
    )
    parquet.write_table(twice, path)
    assert "has 2 columns 'label'; rename all but one" in refused(path)
    parquet.write_table(arrow.table({"bytes": ["text"], "label": [0]}), path)
    assert "the column bytes holds string; give the encoded images as binary" in refused(path)
    parquet.write_table(arrow.table({"bytes": [b"x"] * 12, "label": [0.5] * 12}), path)
    assert "images.parquet row 0: the label 0.5 is no whole number and no text" in refused(path)
    parquet.write_table(arrow.table({"bytes": [b"x"] * 12, "label": ["a", "b"] * 6}), path)
    assert "cannot read the image" in refused(path) and "images.parquet row 0" in refused(path)


def test_names_of_ones_own():
    assert find_task("mine") == MINE and MINE.suite == "own" and own_task("folder").name == "folder"
    with pytest.raises(UserError, match="dataset.name=cifar100 is a task of the table"):
        own_task("cifar100")
    with pytest.raises(UserError, match="dataset.name: got '../x'; give letters"):
        own_task("../x")


def test_without_the_library_a_line_says_how_to_get_it(tmp_path, monkeypatch):
    given = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "datasets" else given(name))
    with pytest.raises(
        UserError, match=r"needs the library datasets, which is not installed; pip install -e '.\[hf\]'"
    ):
        prepare(MINE, Locations(tmp_path, hf="some/name"), image_size=16)


@pytest.mark.slow  # the library takes two seconds to import
def test_a_hugging_face_dataset_holds_the_same_images(images, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the library datasets is not installed (the extra hf)")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    ready = prepared(images, tmp_path / "cache")
    rows = rows_of(images)
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["ant", "bee"])})

    def part(split: str, encode: bool = True) -> object:
        mine = [(path, label) for path, label, own in rows if own == split]
        pictures = [
            {"bytes": (images / path).read_bytes(), "path": None} if encode else str(images / path) for path, _ in mine
        ]
        kinds = [["ant", "bee"].index(label) for _, label in mine]
        return datasets.Dataset.from_dict({"picture": pictures, "kind": kinds}, features=features)

    splits = {"train": part("train"), "validation": part("val"), "test": part("test")}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    found = prepared(tmp_path / "saved", tmp_path / "a")
    assert found.source == "hf" and found.fingerprint == ready.fingerprint and found.class_names == ("ant", "bee")
    assert found.read_manifest()["val200"][1].id == "val200/1"
    assert prepared(tmp_path / "saved", tmp_path / "a").directory == found.directory
    # a single split, with rows chosen from it
    splits["train"].select([1, 2, 3, 4, 5, 6]).save_to_disk(str(tmp_path / "one"))
    drawn = prepared(tmp_path / "one", tmp_path / "b")
    assert drawn.drawn and sum(drawn.sizes.values()) == 6
    assert "no column 'class'" in refused(tmp_path / "saved", label="class")
    datasets.DatasetDict({**splits, "test": part("test").remove_columns("kind")}).save_to_disk(str(tmp_path / "bare"))
    assert "test has other features than train" in refused(tmp_path / "bare", label="kind")
    (tmp_path / "saved/dataset_dict.json").write_text(json.dumps({"splits": ["train", "nothing"]}))
    assert "cannot read the dataset" in refused(tmp_path / "saved")
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: {**splits, "train": part("train", False)})
    by_name = prepare(MINE, Locations(tmp_path / "c", hf="some/name:config"), image_size=16)
    assert by_name.fingerprint == ready.fingerprint and "some/name:config" in by_name.source_note

    def unreachable(name: str, config: str | None) -> None:
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub")  # after a minute of trying

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(UserError, match=r"cannot load the dataset data.hf=no/such: Couldn't reach .*; check the name"):
        prepare(MINE, Locations(tmp_path / "c", hf="no/such"), image_size=16)
