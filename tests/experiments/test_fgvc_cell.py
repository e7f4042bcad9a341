"""Whole cells on an FGVC set: json splits to record, with crops on the way."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import call, words
from PIL import Image

from aoft_bench.data import task
from aoft_bench.data.image_list import ImageList
from aoft_bench.data.locations import Draw, Locations
from aoft_bench.data.prepared_task import prepare
from aoft_bench.data.resample import resize_short_side
from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError

SIZES = {"train": 12, "val": 6, "test": 8}


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CUB in its usual layout: images of several sizes, class ids 3, 40 and 199."""
    root = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    for split, count in SIZES.items():
        entries = {}
        for index in range(count):
            name = f"{split}_{index}.jpg"
            pixels = rng.integers(0, 256, (40 + 5 * index, 60 - index, 3), dtype=np.uint8)
            path = root / "CUB_200_2011/images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            entries[name] = (3, 40, 199)[index % 3]
        (root / "CUB_200_2011" / f"{split}.json").write_text(json.dumps(entries))
    return root


def test_a_cell_trains_on_crops_and_scores_the_center(birds, nano, tmp_path):
    """Under `tune`, which scores after each epoch too."""
    options = nano | {"dataset": "cub", "method": "linear", "data.root": str(birds), "data.cache": "cache"}
    given = words(options, protocol="tune", recipe__flip="true", recipe__epochs="2", recipe__warmup_epochs="0")
    done = call(*given, cwd=tmp_path)
    assert done.code == 0, done.err
    (path,) = (tmp_path / "results").rglob("*.json")
    record = read_record(path)
    assert record["data"]["source"] == "json" and record["data"]["shape"] is None
    assert record["data"]["classes"] == 3 and record["metrics"]["total"] == 6
    assert "sizes 12/6/8 instead of 5394/600/5794" in record["data"]["official_note"]
    changes = [f"data.cache={tmp_path / 'cache'}"]
    again = call("evaluate", str(path), *changes, cwd=tmp_path)
    assert again.code == 0 and "equal" in again.out


def test_a_few_images_of_each_class_train_alone(birds, nano, tmp_path):
    """`clean` trains on train and val together; of two shots, on these six images and not on those of val."""
    options = nano | {"dataset": "cub", "method": "linear", "data.root": str(birds), "data.cache": "cache"}
    done = call(*words(options, data__shots="2", data__draw="1"), cwd=tmp_path)
    assert done.code == 0, done.err
    (path,) = (tmp_path / "results").rglob("*.json")
    record = read_record(path)
    assert record["protocol"] | {"train": "train800", "score": "test"} == record["protocol"]
    assert record["data"]["sizes"] == {"train800": 6, "val200": 6, "test": 8}
    assert record["data"]["drawn"] | {"rule": 1, "seed": 1, "splits": [], "shots": 2} == record["data"]["drawn"]
    whole = prepare(task("cub"), Locations(tmp_path / "whole", birds), image_size=32)
    few = prepare(task("cub"), Locations(tmp_path / "cache", birds, draw=Draw(shots=2, seed=1)), image_size=32)
    every, chosen = (one.read_manifest() for one in (whole, few))
    assert set(chosen["train800"]) < set(every["train800"]) and chosen["test"] == every["test"]
    assert few.fingerprint == record["data"]["fingerprint"]


def test_the_cache_holds_the_resized_images(birds, tmp_path):
    ready = prepare(task("cub"), Locations(tmp_path, birds), image_size=28, interpolation="bilinear")
    images, labels = ready.open_test()
    assert isinstance(images, ImageList) and labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    with Image.open(birds / "CUB_200_2011/images/test_5.jpg") as image:
        wanted = resize_short_side(np.asarray(image), 32, "bilinear")
    np.testing.assert_array_equal(images[5], wanted)
    assert min(images[5].shape[:2]) == 32
    both, labels = ready.train("train800val200")
    assert len(both) == len(labels) == 18
    np.testing.assert_array_equal(both[12], ready.train("val200").images[0])
    assert [row.id for row in ready.read_manifest()["val200"]] == [f"val_{index}.jpg" for index in range(6)]
    other = prepare(task("cub"), Locations(tmp_path, birds), image_size=56, interpolation="bilinear")
    assert other.directory != ready.directory and other.manifest == ready.manifest


def test_an_interpolation_that_is_not_defined_is_refused_before_reading(birds, tmp_path):
    with pytest.raises(UserError, match="cub is resized by its short side.*bilinear_tf is not defined.*bicubic or bil"):
        prepare(task("cub"), Locations(tmp_path, birds), image_size=28, interpolation="bilinear_tf")
    assert not list(tmp_path.iterdir())
