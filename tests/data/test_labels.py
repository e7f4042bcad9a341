"""The label maps of VTAB-1k, on values chosen by hand and on real annotations (of ../shared, where that is there)."""

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from aoft_bench.data import TASKS, tasks
from aoft_bench.data.tfds.labels import CLEVR_THRESHOLDS, LABEL_MAPS, bin_of

SHARED = Path(__file__).resolve().parents[3] / "shared/data/images"
KITTI_TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")  # TFDS's order

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real annotations are not beside this checkout")


def label(name: str, **example: object) -> int:
    return LABEL_MAPS[name](example)


def objects(*depths: float) -> dict[str, object]:
    """CLEVR objects at these depths."""
    return {"size": np.zeros(len(depths)), "pixel_coords": np.array([[1.0, 2.0, depth] for depth in depths])}


@pytest.mark.parametrize(
    ("depth", "index"),
    [
        (0.01, 0),
        (8.0, 0),
        (8.01, 1),
        (8.5, 1),
        (8.51, 2),
        (9.0, 2),
        (9.5, 3),
        (9.51, 4),
        (10.0, 4),
        (10.01, 5),
        (99, 5),
    ],
)
def test_clevr_distance_is_strict_at_its_thresholds_and_takes_the_nearest(depth, index):
    assert label("clevr_distance", objects=objects(depth + 3, depth, depth + 0.5)) == index
    assert bin_of(depth, CLEVR_THRESHOLDS) == index


def test_a_value_below_every_threshold_has_no_class():
    assert bin_of(0.0, CLEVR_THRESHOLDS) == -1


def test_clevr_count():
    assert [label("clevr_count", objects=objects(*range(1, n + 1))) for n in range(3, 11)] == list(range(8))


@pytest.mark.parametrize(
    ("types", "depths", "index"),
    [
        ([0], [8.0], 0),
        ([0], [8.01], 1),
        ([1], [20.0], 1),
        ([2], [20.01], 2),
        ([2], [999.5], 3),
        ([0, 1, 2], [30.0, 5.0, 50.0], 0),
        ([3, 0], [2.0, 25.0], 2),  # a pedestrian nearer than the car does not count
        ([3, 5, 7], [2.0, 3.0, 4.0], 3),
        ([], [], 3),
        ([0], [-1.5], 0),
    ],
)
def test_kitti_takes_the_nearest_car_van_or_truck(types, depths, index):
    location = np.array([[0.5, 1.5, depth] for depth in depths], np.float32).reshape(-1, 3)
    assert label("kitti_vehicle", objects={"type": np.array(types, np.int64), "location": location}) == index


def test_dsprites_bins():
    assert [label("dsprites_location", label_x_position=i) for i in range(32)] == [i // 2 for i in range(32)]
    bins = [label("dsprites_orientation", label_orientation=i) for i in range(40)]
    assert bins == [int(i / 2.5) for i in range(40)] and set(bins) == set(range(16))
    assert sorted({bins.count(i) for i in range(16)}) == [2, 3]


def test_smallnorb_and_plain_labels():
    assert label("smallnorb_azimuth", label_azimuth=17) == 17
    assert label("smallnorb_elevation", label_elevation=8) == 8
    assert label("label", label=np.int64(4)) == 4


def test_every_task_from_tfds_has_a_map_and_every_map_a_task():
    assert {TASKS[name].label_map for name in tasks("vtab1k")} == set(LABEL_MAPS)


@needs_shared
def test_real_clevr_scenes():
    with zipfile.ZipFile(SHARED / "clevr_generated125.zip") as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("index.csv").decode())))
        seen = []
        for row in rows:
            scene = json.loads(archive.read(row["path"].replace("images", "scenes").replace(".png", ".json")))
            depths = [float(entry["pixel_coords"][2]) for entry in scene["objects"]]
            example = objects(*depths)
            assert label("clevr_count", objects=example) == int(row["label"]) - 3
            nearest = min(depths)
            edges = [8, 8.5, 9, 9.5, 10, 100]
            by_hand = next(index for index, edge in enumerate(edges) if nearest <= edge)
            assert label("clevr_distance", objects=example) == by_hand
            seen.append(by_hand)
    assert len(rows) == 125 and len(set(seen)) >= 3


@needs_shared
def test_real_kitti_labels():
    found = {}
    with zipfile.ZipFile(SHARED / "kitti3.zip") as archive:
        for name in archive.namelist():
            if "/label_2/" in name and name.endswith(".txt"):
                lines = [line.split() for line in archive.read(name).decode().splitlines()]
                lines = [words for words in lines if words[0] in KITTI_TYPES]  # TFDS leaves DontCare out
                types = np.array([KITTI_TYPES.index(words[0]) for words in lines])
                location = np.array([[float(word) for word in words[11:14]] for words in lines])
                found[Path(name).stem] = label("kitti_vehicle", objects={"type": types, "location": location})
                nearest = min([1000.0, *(float(w[13]) for w in lines if w[0] in ("Car", "Van", "Truck"))])
                assert found[Path(name).stem] == (
                    0 if nearest <= 8 else 1 if nearest <= 20 else 2 if nearest <= 999 else 3
                )
    assert found == {"000000": 3, "000001": 2, "000002": 2}
