"""The table of tasks: splits, classes, sizes, label maps and sources. A new dataset is one entry here and one YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

SUITES = ("vtab1k", "fgvc", "embedded", "own")
SPLITS = ("train800", "val200", "test")  # the names are kept whatever the counts are

_VTAB = "Zhai et al. 2019, arXiv:1910.04867; splits of google-research/task_adaptation"
_FGVC = "Jia et al. 2022 (VPT), arXiv:2203.12119; its train/val/test json files"


@dataclass(frozen=True)
class Task:
    """One classification task.

    `sizes` counts the images of each split in `SPLITS`, and `classes` the classes; both are 0 / empty where only the
    user's pack knows them. `builder` (TFDS name and accepted versions) and `slices` (split expressions) are None where
    the task does not come from TFDS. `label_map` is a name in `labels.LABEL_MAPS` for TFDS tasks, else a sentence.
    `folders` are the names its folder may have, the published pack's first.
    """

    name: str
    suite: str
    group: str
    classes: int
    sizes: Mapping[str, int] = field(hash=False)
    builder: str | None
    slices: Mapping[str, str] | None = field(hash=False)
    label_map: str
    folders: tuple[str, ...]
    source: str

    def deviations(self, sizes: Mapping[str, int], classes: int, untrained: int = 0) -> list[str]:
        """What images of these counts, classes and classes without a training image have unlike the task."""
        found = []
        if dict(sizes) != dict(self.sizes):
            got, wanted = ("/".join(str(counts[split]) for split in SPLITS) for counts in (sizes, self.sizes))
            found.append(f"sizes {got} instead of {wanted}")
        if classes != self.classes:
            found.append(f"{classes} classes instead of {self.classes}")
        if untrained:
            found.append(f"{untrained} classes without a training image")
        return found


def _vtab(
    name: str,
    group: str,
    builder: str,
    classes: int,
    val: str,
    test: str,
    n_test: int,
    folders: str,
    label_map: str = "label",
) -> Task:
    """A VTAB-1k entry: the first 800 training images, 200 validation images, the whole test split."""
    names = dict.fromkeys([*folders.split(), name])
    return Task(
        name=name,
        suite="vtab1k",
        group=group,
        classes=classes,
        sizes=MappingProxyType({"train800": 800, "val200": 200, "test": n_test}),
        builder=builder,
        slices=MappingProxyType({"train800": "train[:800]", "val200": val, "test": test}),
        label_map=label_map,
        folders=tuple(names),
        source=_VTAB,
    )


def _natural_and_specialized() -> list[Task]:
    validation = "validation[:200]"
    btgraham = "diabetic_retinopathy_detection/btgraham-300:3"
    n, s = "natural", "specialized"
    return [
        _vtab("cifar100", n, "cifar100:3", 100, "train[45000:45200]", "test", 10000, "cifar"),
        _vtab("caltech101", n, "caltech101:3", 102, "train[2754:2954]", "test", 6084, ""),
        _vtab("dtd", n, "dtd:3", 47, validation, "test", 1880, ""),
        _vtab("flowers102", n, "oxford_flowers102:2", 102, validation, "test", 6149, "oxford_flowers102"),
        _vtab("pets", n, "oxford_iiit_pet:>=3", 37, "train[2944:3144]", "test", 3669, "oxford_iiit_pet oxford_pet"),
        _vtab("svhn", n, "svhn_cropped:3", 10, "train[65931:66131]", "test", 26032, ""),
        _vtab("sun397", n, "sun397/tfds:4", 397, validation, "test", 21750, ""),
        _vtab("patch_camelyon", s, "patch_camelyon:2", 2, validation, "test", 32768, ""),
        _vtab("eurosat", s, "eurosat/rgb:2", 10, "train[16200:16400]", "train[21600:]", 5400, ""),
        _vtab("resisc45", s, "resisc45:3", 45, "train[18900:19100]", "train[25200:]", 6300, ""),
        _vtab("retinopathy", s, btgraham, 5, validation, "test", 42670, "diabetic_retinopathy"),
    ]


def _structured() -> list[Task]:
    x = "structured"
    clevr = ("train[63000:63200]", "validation", 15000)
    dsprites = ("train[589824:590024]", "train[663552:]", 73728)
    norb = ("test[:200]", "test[50%:]", 12150)
    return [
        _vtab("clevr_count", x, "clevr:3", 8, *clevr, "", "clevr_count"),
        _vtab("clevr_distance", x, "clevr:3", 6, *clevr, "clevr_dist", "clevr_distance"),
        _vtab("dmlab", x, "dmlab:2.0.1", 6, "validation[:200]", "test", 22735, ""),
        _vtab("kitti", x, "kitti:3", 4, "validation[:200]", "test", 711, "", "kitti_vehicle"),
        _vtab("dsprites_location", x, "dsprites:2", 16, *dsprites, "dsprites_loc", "dsprites_location"),
        _vtab("dsprites_orientation", x, "dsprites:2", 16, *dsprites, "dsprites_ori", "dsprites_orientation"),
        _vtab("smallnorb_azimuth", x, "smallnorb:2", 18, *norb, "smallnorb_azi", "smallnorb_azimuth"),
        _vtab("smallnorb_elevation", x, "smallnorb:2", 9, *norb, "smallnorb_ele", "smallnorb_elevation"),
    ]


def _fgvc() -> list[Task]:
    rows = [
        ("cub", 200, (5394, 600, 5794), "CUB_200_2011"),
        ("nabirds", 555, (21536, 2393, 24633), "nabirds"),
        ("flowers", 102, (1020, 1020, 6149), "OxfordFlower"),
        ("dogs", 120, (10800, 1200, 8580), "Stanford-dogs StanfordDogs"),
        ("cars", 196, (7329, 815, 8041), "Stanford-cars StanfordCars"),
    ]
    label_map = "ids of the json files, contiguous over the UNION of the splits (NABirds' val lacks two classes)"
    return [_plain(name, "fgvc", "fgvc", k, sizes, label_map, folders, _FGVC) for name, k, sizes, folders in rows]


def _plain(
    name: str,
    suite: str,
    group: str,
    classes: int,
    sizes: tuple[int, ...],
    label_map: str,
    folders: str,
    source: str,
) -> Task:
    """A task that does not come from TFDS."""
    names = dict.fromkeys([*folders.split(), name]) if folders else {}
    counts = MappingProxyType(dict(zip(SPLITS, sizes, strict=False)))
    return Task(name, suite, group, classes, counts, None, None, label_map, tuple(names), source)


def _embedded_and_own() -> list[Task]:
    digits = "scikit-learn's load_digits (UCI optical digits, Alpaydin & Kaynak 1998)"
    drawn = "drawn by a seeded generator in the manner of dSprites; aoft_bench/data/embedded.py"
    sizes = (800, 200, 2000)
    return [
        _plain("digits", "embedded", "embedded", 10, (800, 200, 797), "the digit", "", digits),
        _plain("shapes_count", "embedded", "embedded", 8, sizes, "number of shapes - 1", "", drawn),
        _plain("shapes_location", "embedded", "embedded", 16, sizes, "x position in 16 bins of 1.5 pixels", "", drawn),
        _plain(
            "shapes_orientation",
            "embedded",
            "embedded",
            16,
            sizes,
            "where the tip points, in 16 bins of 22.5 degrees",
            "",
            drawn,
        ),
        _plain("folder", "own", "own", 0, (), "the label of the pack's lists", "", "the user's own folder pack"),
    ]


TASKS: Mapping[str, Task] = MappingProxyType(
    {entry.name: entry for entry in [*_natural_and_specialized(), *_structured(), *_fgvc(), *_embedded_and_own()]}
)
