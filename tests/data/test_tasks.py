"""The table of tasks against the published protocol."""

import subprocess
import sys

import pytest

from aoft_bench.data import SUITES, TASKS, task, tasks
from aoft_bench.utils.errors import UserError

VTAB = [
    "cifar100",
    "caltech101",
    "dtd",
    "flowers102",
    "pets",
    "svhn",
    "sun397",
    "patch_camelyon",
    "eurosat",
    "resisc45",
    "retinopathy",
    "clevr_count",
    "clevr_distance",
    "dmlab",
    "kitti",
    "dsprites_location",
    "dsprites_orientation",
    "smallnorb_azimuth",
    "smallnorb_elevation",
]
CLASSES = [100, 102, 47, 102, 37, 10, 397, 2, 10, 45, 5, 8, 6, 6, 4, 16, 16, 18, 9]
TEST = [10000, 6084, 1880, 6149, 3669, 26032, 21750, 32768, 5400, 6300, 42670]
TEST += [15000, 15000, 22735, 711, 73728, 73728, 12150, 12150]


def test_suites_hold_the_published_tasks_in_order():
    assert tasks("vtab1k") == VTAB
    assert tasks("fgvc") == ["cub", "nabirds", "flowers", "dogs", "cars"]
    assert tasks("embedded") == ["digits", "shapes_count", "shapes_location", "shapes_orientation"]
    assert tasks("own") == ["folder"]
    assert tasks() == [name for suite in SUITES for name in tasks(suite)] == list(TASKS)


def test_vtab_classes_sizes_and_groups():
    entries = [task(name) for name in VTAB]
    assert [entry.classes for entry in entries] == CLASSES
    assert [entry.sizes["test"] for entry in entries] == TEST
    assert {(entry.sizes["train800"], entry.sizes["val200"]) for entry in entries} == {(800, 200)}
    assert [entry.group for entry in entries] == ["natural"] * 7 + ["specialized"] * 4 + ["structured"] * 8


def test_vtab_slices_are_disjoint_and_of_200_validation_images():
    for name in VTAB:
        slices = task(name).slices
        assert slices is not None and slices["train800"] == "train[:800]"
        split, bounds = slices["val200"].rstrip("]").split("[")
        first, last = (int(bound or 0) for bound in bounds.split(":"))
        assert last - first == 200
        assert split != "train" or first >= 800, name
        assert len(set(slices.values())) == 3


def test_fgvc_sizes_and_classes():
    rows = [(task(name).classes, *task(name).sizes.values()) for name in tasks("fgvc")]
    assert rows == [
        (200, 5394, 600, 5794),
        (555, 21536, 2393, 24633),
        (102, 1020, 1020, 6149),
        (120, 10800, 1200, 8580),
        (196, 7329, 815, 8041),
    ]


def test_embedded_table_agrees_with_the_generators():
    from aoft_bench.data.sources.drawing import LOADERS

    assert list(LOADERS) == tasks("embedded")
    for name, load in LOADERS.items():
        splits = load()
        assert {split: len(raw.labels) for split, raw in splits.items()} == dict(task(name).sizes)
        assert {int(label) for raw in splits.values() for label in raw.labels} == set(range(task(name).classes))


def test_folder_names_lead_to_one_task_and_hold_the_published_ones():
    owner: dict[str, str] = {}
    for name in TASKS:
        for folder in task(name).folders:
            assert owner.setdefault(folder, name) == name
    published = "cifar oxford_flowers102 oxford_iiit_pet oxford_pet diabetic_retinopathy clevr_dist dsprites_loc "
    published += "dsprites_ori smallnorb_azi smallnorb_ele cifar100 CUB_200_2011 StanfordDogs Stanford-cars"
    assert set(published.split()) <= set(owner)


def test_unknown_names_get_the_closest_one():
    with pytest.raises(UserError, match="unknown dataset 'cifar10' .did you mean 'cifar100'"):
        task("cifar10")
    with pytest.raises(UserError, match="unknown suite 'vtab'.*vtab1k"):
        tasks("vtab")


def test_entries_can_be_keys_and_do_not_change():
    assert len({task(name) for name in TASKS}) == len(TASKS) == 29
    with pytest.raises(TypeError):
        task("dtd").sizes["test"] = 1  # type: ignore[index]


def test_the_table_needs_neither_torch_nor_numpy():
    code = (
        "import sys, aoft_bench.data as d; d.tasks(); print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
