"""The table of tasks against the published protocol."""

import subprocess
import sys
from pathlib import Path

import pytest

from aoft_bench.data import SUITES, TASKS, task, tasks
from aoft_bench.data.locations import Locations
from aoft_bench.data.sources.choose import SOURCES, choose
from aoft_bench.utils.errors import UserError

# classes and test images of VTAB-1k (Zhai et al. 2019, table of datasets; counts of the TFDS versions in use)
VTAB = {
    "cifar100": (100, 10000),
    "caltech101": (102, 6084),
    "dtd": (47, 1880),
    "flowers102": (102, 6149),
    "pets": (37, 3669),
    "svhn": (10, 26032),
    "sun397": (397, 21750),
    "patch_camelyon": (2, 32768),
    "eurosat": (10, 5400),
    "resisc45": (45, 6300),
    "retinopathy": (5, 42670),
    "clevr_count": (8, 15000),
    "clevr_distance": (6, 15000),
    "dmlab": (6, 22735),
    "kitti": (4, 711),
    "dsprites_location": (16, 73728),
    "dsprites_orientation": (16, 73728),
    "smallnorb_azimuth": (18, 12150),
    "smallnorb_elevation": (9, 12150),
}
# classes, training images (VPT divides them into train and val) and test images of the authors of each set
FGVC = {
    "cub": (200, 5994, 5794),
    "nabirds": (555, 23929, 24633),
    "flowers": (102, 2040, 6149),
    "dogs": (120, 12000, 8580),
    "cars": (196, 8144, 8041),
}


def test_suites_hold_the_published_tasks_in_order():
    assert tasks("vtab1k") == list(VTAB)
    assert tasks("manyshot") == ["cifar100_full", "resisc45_full", "clevr_distance_full"]
    assert tasks("fgvc") == list(FGVC)
    assert tasks("domainshift") == ["imagenet"]
    assert tasks("embedded") == ["digits", "shapes_count", "shapes_location", "shapes_orientation"]
    assert "folder" in tasks("own")
    assert tasks() == [name for suite in SUITES for name in tasks(suite)] == list(TASKS)


def test_full_training_sets_have_the_test_split_and_all_of_the_training_of_vtab():
    """45,000 + 5,000 of CIFAR-100's 50,000; 18,900 + 6,300 of RESISC45's 31,500; 63,000 + 7,000 of CLEVR's 70,000."""
    for name, count in zip(tasks("manyshot"), (50_000, 25_200, 70_000), strict=True):
        full, small = task(name), task(name.removesuffix("_full"))
        assert full.sizes["train800"] + full.sizes["val200"] == count
        assert (full.builder, full.classes, full.label_map) == (small.builder, small.classes, small.label_map)
        assert (full.slices["test"], full.sizes["test"]) == (small.slices["test"], small.sizes["test"])
        # the 200 images of val200 are the first of the validation split, which begins where training ends
        border = full.slices["train800"].removeprefix("train[:").removesuffix("]")
        assert full.sizes["train800"] == int(border)
        assert small.slices["val200"].startswith(f"train[{border}:") and full.slices["val200"].startswith(
            f"train[{border}"
        )


def test_vtab_classes_sizes_and_groups():
    entries = [task(name) for name in VTAB]
    assert [(entry.classes, entry.sizes["test"]) for entry in entries] == list(VTAB.values())
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


def test_fgvc_classes_and_sizes():
    for name, (classes, training, test) in FGVC.items():
        sizes = task(name).sizes
        found = (task(name).classes, sizes["train800"] + sizes["val200"], sizes["test"])
        assert found == (classes, training, test), name


def test_every_source_of_a_task_can_be_opened():
    assert {source for entry in TASKS.values() for source in entry.sources} == set(SOURCES)
    assert all(("tfds" in entry.sources) == (entry.builder is not None) for entry in TASKS.values())


@pytest.mark.parametrize(
    ("option", "name"),
    [({"root": Path("nowhere")}, "root=nowhere"), ({"source": "folder"}, "source=folder")]
    + [({name: Path("a")}, f"{name}=a") for name in ("tfds_dir", "manual_dir")],
)
def test_a_generated_task_refuses_an_option_that_cannot_act(option, name):
    assert choose(task("digits"), Locations(Path("cache")), False) == "embedded"
    with pytest.raises(UserError, match=f"digits is generated and reads no files: data.{name} cannot act; leave it"):
        choose(task("digits"), Locations(Path("cache"), **option), False)


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
    assert len({task(name) for name in TASKS}) == len(TASKS)
    with pytest.raises(TypeError):
        task("dtd").sizes["test"] = 1  # type: ignore[index]


def test_the_table_needs_neither_torch_nor_numpy():
    code = (
        "import sys, aoft_bench.data as d; d.tasks(); print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
