"""The official example lists: TFDS's order from keys alone, against TFDS itself and against published names."""

import gzip
import hashlib
import importlib.util
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from aoft_bench.data import TASKS, task, tasks
from aoft_bench.data.tasks import SPLITS
from aoft_bench.data.tfds.official import FOLDER, LISTS, digest, example_ids, read_list, tfds_order
from aoft_bench.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LISTED = [name for name in tasks("vtab1k") if example_ids(task(name)) is not None]


def load_tool():
    """tools/make_official_lists.py as a module."""
    path = ROOT / "tools" / "make_official_lists.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


tool = load_tool()


def test_the_order_is_that_of_the_md5_of_split_and_key():
    # md5("train0"), md5("train1") and md5("train2") begin with 93, bc and ec; of "test" they begin with f6, 5a and ad
    assert [hashlib.md5(text).hexdigest()[:2] for text in (b"train0", b"train1", b"train2")] == ["93", "bc", "ec"]
    assert tfds_order("train", [2, 0, 1]) == [0, 1, 2]
    assert tfds_order("test", [2, 0, 1]) == [1, 2, 0]
    assert tfds_order("test", ["0", "1", "2"]) == ["1", "2", "0"]
    assert tfds_order("train", []) == []


def test_the_order_is_that_of_tfds_own_hasher():
    hashing = pytest.importorskip("tensorflow_datasets.core.hashing")
    keys = [*(f"a/b_{i}.jpg" for i in range(300)), "windows\\name.png", "ütf-8 ☺", "", "7"]
    for split in ("train", "validation", "test"):
        hasher = hashing.Hasher(split)
        assert tfds_order(split, keys) == sorted(keys, key=hasher.hash_key)
        assert tfds_order(split, range(500)) == sorted(range(500), key=hasher.hash_key)


@pytest.mark.parametrize("keys", [[1, 2, 1], ["a", "b", "a"], ["a\\b", "a/b"], [3, 4, 3000, 3000]])
def test_keys_that_collide_are_refused(keys):
    with pytest.raises(ValueError, match="two examples of the split 'train' have one key"):
        tfds_order("train", keys)


@pytest.fixture(scope="module")
def builder_class():
    """A TFDS builder with integer keys in train and file names in validation, which it also stores."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class Keyed(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"key": tfds.features.Text()})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(range(431)),
                "validation": self._generate_examples(f"class_{i % 7}/file_{i:04d}.jpg" for i in range(100)),
            }

        def _generate_examples(self, keys):
            for key in keys:
                yield key, {"key": str(key)}

    return Keyed


@pytest.mark.parametrize("shards", [1, 3, 16])
def test_the_order_is_what_tfds_prepares_and_slices(builder_class, shards, tmp_path):
    import tensorflow_datasets as tfds

    builder = builder_class(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=shards))
    assert len(builder.info.splits["train"].filenames) == shards
    ordered = {
        "train": [str(key) for key in tfds_order("train", range(431))],
        "validation": tfds_order("validation", [f"class_{i % 7}/file_{i:04d}.jpg" for i in range(100)]),
    }
    for expression in ("train", "train[:80]", "train[300:345]", "train[400:]", "train[50%:]", "validation[:20]"):
        stored = [row["key"].decode() for row in builder.as_data_source(split=expression)]
        assert stored == tool.cut(expression, ordered), expression


def test_an_expression_is_cut_as_python_cuts():
    ordered = {"train": list("abcdefg"), "test": list("xyz")}
    cuts = {"train": "abcdefg", "train[:2]": "ab", "train[5:6]": "f", "train[4:]": "efg", "train[50%:]": "efg"}
    assert {expression: "".join(tool.cut(expression, ordered)) for expression in cuts} == cuts
    assert tool.cut("test", ordered) == list("xyz")
    with pytest.raises(ValueError, match="cannot cut"):
        tool.cut("train[-5:]", ordered)


def test_twelve_tasks_have_a_list():
    assert len(LISTED) == 12 and sorted({re.split("[:/]", task(name).builder)[0] for name in LISTED}) == list(LISTS)
    assert sorted(path.name for path in FOLDER.glob("*.txt.gz")) == [f"{name}.txt.gz" for name in LISTS]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1.5e6
    for name in ("dtd", "retinopathy", "caltech101", "cub", "digits", "folder"):
        assert example_ids(task(name)) is None


@pytest.mark.parametrize("name", LISTED)
def test_a_list_has_the_sizes_of_its_task_and_no_example_twice(name):
    entry, ids = task(name), example_ids(task(name))
    assert {split: len(keys) for split, keys in ids.items()} == entry.sizes
    stored = [(entry.slices[split].split("[")[0], key) for split, keys in ids.items() for key in keys]
    assert len(set(stored)) == sum(entry.sizes.values()), "an example in two splits, or twice in one"


@pytest.mark.parametrize("name", LISTS)
def test_the_header_is_true(name):
    lines = gzip.decompress((FOLDER / f"{name}.txt.gz").read_bytes()).decode().splitlines()
    header = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)
    assert header["tasks"].split(", ") == [each for each in LISTED if task(each).builder.startswith(name)]
    for entry in map(task, header["tasks"].split(", ")):
        assert header["slices"] == ", ".join(f"{split} = {entry.slices[split]}" for split in SPLITS)
        assert f"TFDS builder {entry.builder}," in lines[0]
    ids = example_ids(entry)
    for split in SPLITS:
        start = lines.index(f"[{split}] {len(ids[split])}") + 1
        block = "\n".join(lines[start : start + len(ids[split])])
        assert f"# sha256 {split} {hashlib.sha256(block.encode()).hexdigest()}" in lines


def sorted_by_md5(split: str, keys: list[str]) -> list[str]:
    return sorted(keys, key=lambda key: int(hashlib.md5((split + key).encode()).hexdigest(), 16))


def test_members_computed_anew():
    train = sorted_by_md5("train", [str(index) for index in range(50000)])
    ids = example_ids(task("cifar100"))
    assert list(ids["train800"]) == train[:800] and list(ids["val200"]) == train[45000:45200]
    assert list(ids["test"]) == sorted_by_md5("test", [str(index) for index in range(10000)])
    smaller = {"Pasture": 2000} | dict.fromkeys(["Highway", "Industrial", "PermanentCrop", "River"], 2500)
    classes = dict.fromkeys(["AnnualCrop", "Forest", "HerbaceousVegetation", "Residential", "SeaLake"], 3000) | smaller
    train = sorted_by_md5("train", [f"{c}_{c}_{i + 1}.jpg" for c, count in classes.items() for i in range(count)])
    ids = example_ids(task("eurosat"))
    assert [list(ids[split]) for split in SPLITS] == [train[:800], train[16200:16400], train[21600:]]


# SHA-256 of the sorted names, one a line, in VPT's vtab_trainval_splits.json (the copy in ChengHan111/E2VPT at
# c614821d41469785bb1b5204e37752abf2e8ba2f): train and val, as TFDS gave them to the authors in 2022
PUBLISHED = {
    "cifar100": (
        "ac3a4b7f6d6c32f787a0b7e609b785b286e47ff933fd9625016298693639a019",
        "7996f329fc85b9ac7daf4dc004fe27e8a082349d62c4e43bb7d8e8b4982228d3",
    ),
    "clevr_count": (
        "2755742128ae24c0bca5299c342a54b0ed9a806bd1d9f39ca602159c74ffe21f",
        "6570e8229f7bc1b9e2e445b9959b6fcafb53e3bf5b3e3c4df9a799e93f56c2fb",
    ),
    "eurosat": (
        "2a2d9a1c3370755c0717a420efbeb5501b2db4ed7dabfd9c9db423e092101c68",
        "b13e8f5667551e03061a1638d248de14cf780a43f2c0f9488106cd04332076f3",
    ),
    "patch_camelyon": (
        "21eaea5228a490c048a7ea3b28a79f4f470a26a4f9a66ee112af5b5ece573c37",
        "d6e3e99d74f635b8672b69ffc2294e9d8af570ee93234654c5f79573a74f251e",
    ),
    "resisc45": (
        "b283cadb71f06d56f43bb2f3b7eec68d44b47c38ef036641638c4f8f952718c5",
        "0058327227a2a0b15aa207ac8b64fddad90aedc4fbf790a8aa1c670f5de37a0c",
    ),
    "sun397": (
        "6e8ed9539b4b2eae3f42cf251dea7ac5c9f9f1473ec6bffc935e48337b28d50a",
        "73edd1682bcd496b433ac2e127c0cbdf6c30e80570404f69d20065223eb7a3d6",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_training_images_are_those_that_vpt_published(name):
    def published_form(key: str) -> str:
        if name == "cifar100":
            return f"train_{int(key):05d}"
        # <class>_<class>_<number>.jpg, where the class of resisc45 may hold underscores itself
        return re.sub(r"^(\w+)_(?=\1_\d+\.jpg$)", "", key)

    ids = example_ids(task(name))
    names = [sorted(map(published_form, ids[split])) for split in ("train800", "val200")]
    assert tuple(hashlib.sha256("\n".join(each).encode()).hexdigest() for each in names) == PUBLISHED[name]


@pytest.mark.parametrize("name", ["cifar100", "eurosat", "sun397"])
def test_a_list_made_again_is_the_shipped_one(name):
    if name == "sun397":
        pytest.importorskip("tensorflow_datasets")
    shipped = (FOLDER / f"{name}.txt.gz").read_bytes()
    content = tool.text(name)
    assert content == gzip.decompress(shipped).decode()
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng packs otherwise
        assert tool.compressed(content) == shipped
    assert shipped[3:8] == bytes(5), "no name and no time in the gzip header"


def test_class_names_are_those_of_tfds(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    assert tfds.builder("resisc45:3.*.*", data_dir=tmp_path).info.features["label"].names == tool.RESISC45.split()
    assert tfds.builder("eurosat/rgb:2.*.*", data_dir=tmp_path).info.features["label"].names == list(tool.EUROSAT)


def altered(change):
    """Apply `change` to the text of the shipped eurosat list and pack it."""
    return lambda content: tool.compressed(change(gzip.decompress(content).decode()))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: content[: len(content) // 2], "cannot be read"),
        (lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:], "cannot be read"),
        (lambda content: b"", "cannot be read|lacks the block train800"),
        (lambda content: b"# no gzip", "cannot be read"),
        (lambda content: gzip.compress(b"\xff\xfe"), "cannot be read"),
        (altered(lambda text: text.replace("SeaLake_804.jpg", "SeaLake_805.jpg")), "SHA-256 of val200"),
        (altered(lambda text: text.replace("# sha256 test ", "# sha256 best ")), "SHA-256 of test"),
        (altered(lambda text: text.replace("[val200] 200", "[val200] 199")), "SHA-256 of val200"),
        (altered(lambda text: text.split("[test]")[0]), "lacks the block test"),
        (altered(lambda text: text + "one more\n"), "goes on after the block test"),
    ],
)
def test_a_damaged_list_says_reinstall(tmp_path, damage, says):
    path = tmp_path / "eurosat.txt.gz"
    path.write_bytes(damage((FOLDER / path.name).read_bytes()))
    with pytest.raises(UserError, match=rf"^the packaged list {path} .*({says}).*; reinstall aoft_bench$"):
        read_list(path)


def test_a_missing_list_says_reinstall(tmp_path):
    with pytest.raises(UserError, match=r"cifar100\.txt\.gz is missing; reinstall aoft_bench"):
        read_list(tmp_path / "cifar100.txt.gz")


def test_the_table_in_the_documentation_is_true():
    rows = [
        [cell.strip(" `†") for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs/splits.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    table = {row[0]: row[1:] for row in rows if len(row) == 10}
    assert list(table) == tasks("vtab1k")
    for name, (builder, versions, *cells) in table.items():
        entry, ids = TASKS[name], example_ids(TASKS[name])
        assert builder == entry.builder and cells[:3] == [entry.slices[split] for split in SPLITS]
        assert (cells[3] == "no") == (ids is None) == (name not in LISTED)
        if ids is not None:
            assert cells[4:] == [digest(ids[split])[:12] for split in SPLITS]
            assert versions == tool.BUILDERS[cells[3]].versions


def test_reading_a_list_imports_neither_numpy_nor_tfds():
    code = (
        "import sys; from aoft_bench.data import task; from aoft_bench.data.tfds import official; "
        "official.example_ids(task('eurosat'));"
        "print([name for name in ('numpy', 'torch', 'tensorflow_datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
