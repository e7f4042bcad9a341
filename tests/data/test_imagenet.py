"""ImageNet and the four test sets beside it: the facts of their classes, their folders, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imagenet_sets import CLASSES, few_classes, make_sets
from PIL import Image

from aoft_bench.data import task
from aoft_bench.data.imagenet_classes import imagenet_wnids, labels_of_folders
from aoft_bench.data.locations import Draw, Locations
from aoft_bench.data.prepared_task import PreparedTask, prepare
from aoft_bench.data.tasks import SHIFTS
from aoft_bench.data.verify import verify
from aoft_bench.utils.errors import UserError

TASK = task("imagenet")


def ready(root: Path, cache: Path, **draw: int) -> PreparedTask:
    locations = Locations(cache, root, draw=Draw(**{"shots": 2, **draw}))
    return prepare(TASK, locations, image_size=28)


def test_the_classes_are_those_of_the_published_sets() -> None:
    """Indices as in NOAH's lists of the sets (data/domain-generalization/*/annotations/val_meta.list)."""
    wnids = imagenet_wnids()
    assert len(wnids) == 1000 and list(wnids) == sorted(wnids)
    assert (wnids[0], wnids[653], wnids[954], wnids[999]) == ("n01440764", "n03764736", "n07753592", "n15075141")
    labels = {images: labels_of_folders(images) for images in ("imagenet", *SHIFTS)}
    assert {images: len(found) for images, found in labels.items()} == {
        "imagenet": 1000, "v2": 1000, "sketch": 1000, "a": 200, "r": 200
    }  # fmt: skip
    assert labels["imagenet"] == labels["sketch"] and labels["v2"]["361"] == 361
    assert (min(labels["a"].values()), max(labels["a"].values())) == (6, 988)
    assert (min(labels["r"].values()), max(labels["r"].values())) == (1, 988)
    for images in ("a", "r"):
        assert all(wnids[label] == wnid for wnid, label in labels[images].items())
    assert labels["r"]["n01443537"] == 1 and "n01443537" not in labels["a"]
    assert tuple(SHIFTS) == TASK.shifts


def test_every_set_is_cached_with_the_labels_of_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_classes(monkeypatch)
    make_sets(tmp_path / "sets")
    found = ready(tmp_path / "sets", tmp_path / "cache")
    count = len(CLASSES)
    assert found.sizes == {
        "train800": 2 * count, "val200": 2 * count, "test": 2 * count, "v2": count, "sketch": count, "a": 4, "r": 4
    }  # fmt: skip
    assert found.classes == count and found.source == "imagenet" and not found.official
    assert found.drawn and (found.drawn["shots"], found.drawn["splits"]) == (2, ["val200"])
    assert "sizes 12/12/12/6/6/4/4 instead of 16000/16000/50000/10000/50889/7500/30000" in found.official_note
    shifts = dict(found.open_shifts())
    assert list(shifts) == ["v2", "sketch", "a", "r"]
    assert shifts["v2"].labels.tolist() == list(range(count))
    assert shifts["a"].labels.tolist() == [1, 1, 3, 3] and shifts["r"].labels.tolist() == [0, 0, 3, 3]
    rows = found.read_manifest()
    assert [row.id for row in rows["a"]][:2] == [f"imagenet-a/{CLASSES[1]}/{index}.jpg" for index in (0, 1)]
    with Image.open(tmp_path / f"sets/sketch/{CLASSES[4]}/0.JPEG") as image:
        assert min(image.size) == 40 and min(shifts["sketch"].images[4].shape[:2]) == 32
    for split in ("train800", "val200"):
        assert np.bincount(found.train(split).labels).tolist() == [2] * count
    assert not {row.id for row in rows["train800"]} & {row.id for row in rows["val200"]}
    assert verify(TASK, found.directory).sound


def test_what_is_drawn_depends_on_names_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on where the folders lie: as the archives unpack, or as in CoOp's guide."""
    few_classes(monkeypatch)
    make_sets(tmp_path / "sets")
    make_sets(tmp_path / "others", as_coop=True)
    first, second = ready(tmp_path / "sets", tmp_path / "c"), ready(tmp_path / "others", tmp_path / "d")
    assert first.fingerprint == second.fingerprint and first.drawn == second.drawn
    assert ready(tmp_path / "sets", tmp_path / "c", seed=1).fingerprint != first.fingerprint


def remove(folder: Path) -> None:
    for image in folder.iterdir():
        image.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: (root / "sketch").rename(root / "sketches"), "has no sketch; unpack it there"),
        (
            lambda root: remove(root / f"imagenet-r/{CLASSES[0]}"),
            "imagenet-r lacks 1 of its 2 class folders, the first",
        ),
        (lambda root: remove(root / "imagenetv2-matched-frequency-format-val/5"), "lacks 1 of its 6 class folders"),
        (
            lambda root: (root / f"imagenet-a/{CLASSES[0]}").mkdir(),
            f"imagenet-a/{CLASSES[0]} is named for no class of this set; its 2 class folders",
        ),
        (lambda root: (root / f"sketch/{CLASSES[2]}/0.JPEG").unlink(), f"{CLASSES[2]} has no image"),
        (lambda root: (root / f"imagenet/val/{CLASSES[2]}/0.JPEG").write_bytes(b""), "0.JPEG is empty"),
        (lambda root: (root / f"imagenet-a/{CLASSES[1]}/0.jpg").write_bytes(b"no image"), "0.jpg"),
    ],
)
def test_a_set_that_is_not_whole_is_refused_in_one_line(
    spoil: Callable[[Path], object], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_classes(monkeypatch)
    make_sets(tmp_path / "sets")
    spoil(tmp_path / "sets")
    with pytest.raises(UserError, match=says) as refused:
        ready(tmp_path / "sets", tmp_path / "cache")
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "cache").rglob("meta.json"))
