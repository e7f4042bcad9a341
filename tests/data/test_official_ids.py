"""The ids of the official examples, as TFDS's builders write them, and the comparison of a manifest with them."""

import importlib

import pytest
from raw.common import registered

from aoft_bench.data import TASKS, task
from aoft_bench.data.manifest import ManifestRow
from aoft_bench.data.tasks import SPLITS
from aoft_bench.data.tfds import official
from aoft_bench.data.tfds.official import ID_OF_KEY, differences, official_ids

# the first keys of each list, written by hand in the form of the examples (docs/splits.md)
FIRST_IDS = {
    "cifar100": ("train_16399", "train_01680"),
    "svhn": ("train_016399", "train_001680"),
    "sun397": ("/r/rope_bridge/sun_biqflnsoednmhvce.jpg", "/t/tower/sun_avxiyhlcnzjayhrk.jpg"),
    "patch_camelyon": ("train_251464", "train_132287"),
    "eurosat": ("Forest_687.jpg", "Residential_188.jpg"),
    "resisc45": ("dense_residential_068.jpg", "palace_207.jpg"),
    "clevr_count": ("CLEVR_train_043876.png", "CLEVR_train_033421.png"),
    "clevr_distance": ("CLEVR_train_043876.png", "CLEVR_train_033421.png"),
    "dsprites_location": ("016399", "634903"),
    "dsprites_orientation": ("016399", "634903"),
    "smallnorb_azimuth": ("train_16399", "train_01680"),
    "smallnorb_elevation": ("train_16399", "train_01680"),
}


@pytest.mark.parametrize("name", FIRST_IDS)
def test_official_ids_are_those_of_the_examples(name):
    ids = official_ids(task(name))
    assert ids is not None and ids["train800"][:2] == FIRST_IDS[name]
    assert {split: len(set(ids[split])) for split in SPLITS} == task(name).sizes


@pytest.mark.parametrize(
    ("name", "split", "prefix"),
    [
        ("cifar100", "val200", "train_"),
        ("cifar100", "test", "test_"),
        ("svhn", "test", "test_"),
        ("smallnorb_azimuth", "val200", "test_"),
        ("patch_camelyon", "val200", "valid_"),
        ("clevr_count", "test", "CLEVR_val_"),
    ],
)
def test_ids_name_the_split_that_they_are_taken_from(name, split, prefix):
    ids = official_ids(task(name))
    assert ids is not None and all(one.startswith(prefix) for one in ids[split])


def test_other_tasks_have_no_ids():
    for name in set(TASKS) - set(FIRST_IDS):
        assert official_ids(task(name)) is None
        assert differences(task(name), {split: (ManifestRow(0, "train_0", ""),) for split in SPLITS}) is None


@pytest.mark.data
@pytest.mark.parametrize(
    ("wanted", "feature"),
    [
        ("cifar100", "id"),
        ("clevr", "file_name"),
        ("dsprites:2.1.0", "id"),
        ("eurosat/rgb", "filename"),
        ("patch_camelyon", "id"),
        ("resisc45", "filename"),
        ("smallnorb:2.1.0", "id"),
        ("sun397/tfds", "file_name"),
        ("svhn_cropped", "id"),
    ],
)
def test_ids_are_those_that_tfds_builders_write(wanted, feature, tmp_path):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed; make test-data runs this test")
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    name = wanted.replace(":", "/").split("/")[0]
    raw = importlib.import_module(f"raw.{name}").write(tmp_path / "manual")
    builder = tfds.builder(wanted, data_dir=tmp_path / "data")
    registered(builder, raw, tmp_path / "manual")
    config = tfds.download.DownloadConfig(manual_dir=tmp_path / "manual")
    builder.download_and_prepare(file_format="array_record", download_config=config)
    for split, examples in raw.splits.items():
        keys = official.tfds_order(split, [example.key for example in examples])
        got = [record[feature].decode() for record in builder.as_data_source(split)]
        assert got == [ID_OF_KEY[name](split, key) for key in keys]


@pytest.fixture(scope="module")
def eurosat() -> dict[str, tuple[ManifestRow, ...]]:
    """The manifest of the official examples, without images."""
    ids = official_ids(task("eurosat"))
    assert ids is not None
    return {split: tuple(ManifestRow(0, one, "") for one in ids[split]) for split in SPLITS}


def test_official_examples_in_the_official_order_agree(eurosat):
    entry = task("eurosat")
    assert differences(entry, eurosat) == []
    first, second, *rest = eurosat["val200"]
    for changed in (
        (second, first, *rest),
        (first, *rest),
        (first, first, *rest),
        (first, ManifestRow(0, "", ""), *rest),
    ):
        assert differences(entry, eurosat | {"val200": changed})
    assert differences(entry, {"train800": eurosat["train800"]})


def test_manifests_without_ids_are_not_compared(eurosat):
    bare = {split: tuple(row._replace(id="") for row in rows) for split, rows in eurosat.items()}
    assert differences(task("eurosat"), bare) is None
