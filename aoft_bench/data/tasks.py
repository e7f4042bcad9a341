"""The table of tasks: splits, classes, sizes, label maps and sources. A new dataset is one entry here and one YAML."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import shown

SUITES = ("vtab1k", "manyshot", "fgvc", "domainshift", "embedded", "own")
OWN = "folder"  # the entry for images of the user's own
OWN_SOURCES = ("folder", "image_folder", "table", "hf")  # of images of the user's own
SPLITS = ("train800", "val200", "test")  # the names stay, whatever the number of images


@dataclass(frozen=True)
class Task:
    """One classification task.

    title: what papers call it; empty for images of the user's own. suite, group: where the paper's tables list it.
    classes, sizes: the number of classes, and of images in each split of `SPLITS`; 0 and empty where they depend on the
    user's own images; sizes has further splits where there are more test sets, see `shifts`. sources: what its images
    can be read from, the keys of `sources.choose.SOURCES`. builder, slices: TFDS name with the accepted versions and
    the slice of each split, None for a task that is not in TFDS. label_map: a name in `tfds.labels.LABEL_MAPS`; for
    other tasks a sentence. folders: names that the folder of the images may have, that of the published pack first.
    source: the reference.
    """

    name: str
    title: str
    suite: str
    group: str
    classes: int
    sizes: Mapping[str, int] = field(hash=False)
    sources: tuple[str, ...]
    builder: str | None
    slices: Mapping[str, str] | None = field(hash=False)
    label_map: str
    folders: tuple[str, ...]
    source: str

    @property
    def shifts(self) -> tuple[str, ...]:
        """Further test sets, of images unlike those of training, that are scored after the test split."""
        return tuple(split for split in self.sizes if split not in SPLITS)

    def deviations(self, sizes: Mapping[str, int], classes: int, untrained: int = 0) -> list[str]:
        """How images of these sizes and classes differ from the task, in words; `untrained`: classes without a
        training image."""
        found = []
        if dict(sizes) != dict(self.sizes):
            got, wanted = ("/".join(str(counts[split]) for split in self.sizes) for counts in (sizes, self.sizes))
            found.append(f"sizes {got} instead of {wanted}")
        if classes != self.classes:
            found.append(f"{classes} classes instead of {self.classes}")
        if untrained:
            found.append(f"{untrained} classes without a training image")
        return found


def _vtab(
    name: str,
    title: str,
    group: str,
    builder: str,
    classes: int,
    test_size: int,
    val: str = "validation[:200]",
    test: str = "test",
    label_map: str = "label",
    folders: str = "",
) -> Task:
    """A task of VTAB-1k: the first 800 training images, 200 validation images, the whole test split."""
    return Task(
        name=name,
        title=title,
        suite="vtab1k",
        group=group,
        classes=classes,
        sizes=MappingProxyType({"train800": 800, "val200": 200, "test": test_size}),
        sources=("folder", "tfds"),
        builder=builder,
        slices=MappingProxyType({"train800": "train[:800]", "val200": val, "test": test}),
        label_map=label_map,
        folders=tuple(dict.fromkeys([*folders.split(), name])),
        source="Zhai et al. 2019, arXiv:1910.04867; splits of google-research/task_adaptation",
    )


def _manyshot(
    name: str, title: str, builder: str, classes: int, sizes: tuple[int, int, int], *slices: str, label: str
) -> Task:
    """The full training and validation splits of a task of VTAB-1k, whose test split it has too."""
    return Task(
        name=name,
        title=title,
        suite="manyshot",
        group="manyshot",
        classes=classes,
        sizes=MappingProxyType(dict(zip(SPLITS, sizes, strict=True))),
        sources=("folder", "tfds"),
        builder=builder,
        slices=MappingProxyType(dict(zip(SPLITS, slices, strict=True))),
        label_map=label,
        folders=(name,),
        source="full splits of google-research/task_adaptation; the three tasks are those of Mai et al. 2025",
    )


def _other(
    name: str,
    title: str,
    suite: str,
    kind: str,
    classes: int,
    sizes: tuple[int, ...],
    label_map: str,
    source: str,
    folders: tuple[str, ...] = (),
) -> Task:
    """A task that is not in TFDS; `kind` is its only source."""
    counts = MappingProxyType(dict(zip(SPLITS, sizes, strict=True)) if sizes else {})
    return Task(name, title, suite, suite, classes, counts, (kind,), None, None, label_map, folders, source)


def _fgvc(name: str, title: str, classes: int, sizes: tuple[int, int, int], *folders: str) -> Task:
    label_map = "ids of the json files, contiguous over the UNION of the splits (NABirds' val lacks two classes)"
    source = "Jia et al. 2022 (VPT), arXiv:2203.12119; its train/val/test json files"
    return _other(
        name, title, "fgvc", "json", classes, sizes, label_map, source, tuple(dict.fromkeys([*folders, name]))
    )


def _imagenet() -> Task:
    """ImageNet at 16 images of each class, and the test sets that NOAH scores besides its val."""
    sizes = {"train800": 16000, "val200": 16000, "test": 50000, "v2": 10000, "sketch": 50889, "a": 7500, "r": 30000}
    label_map = "place of the wnid among the 1,000; A and R have 200 of them, and are scored among these"
    source = "ILSVRC 2012; V2 (Recht et al. 2019), Sketch (Wang et al. 2019), A and R (Hendrycks et al. 2021)"
    task = _other("imagenet", "ImageNet", "domainshift", "imagenet", 1000, (), label_map, source, ("domainshift",))
    return replace(task, sizes=MappingProxyType(sizes))


def _shapes(name: str, title: str, classes: int, label_map: str) -> Task:
    source = "drawn by a seeded generator in the manner of dSprites; aoft_bench/data/sources/embedded_images.py"
    return _other(name, title, "embedded", "embedded", classes, (800, 200, 2000), label_map, source)


def _tasks() -> list[Task]:
    natural, specialized, structured = "natural", "specialized", "structured"
    btgraham = "diabetic_retinopathy_detection/btgraham-300:3"
    clevr = (15000, "train[63000:63200]", "validation")
    dsprites = (73728, "train[589824:590024]", "train[663552:]")
    norb = (12150, "test[:200]", "test[50%:]")
    digits = "scikit-learn's load_digits (UCI optical digits, Alpaydin & Kaynak 1998)"
    return [
        _vtab("cifar100", "CIFAR-100", natural, "cifar100:3", 100, 10000, "train[45000:45200]", folders="cifar"),
        _vtab("caltech101", "Caltech101", natural, "caltech101:3", 102, 6084, "train[2754:2954]"),
        _vtab("dtd", "DTD", natural, "dtd:3", 47, 1880),
        _vtab("flowers102", "Flowers102", natural, "oxford_flowers102:2", 102, 6149, folders="oxford_flowers102"),
        _vtab(
            "pets",
            "Pets",
            natural,
            "oxford_iiit_pet:>=3",
            37,
            3669,
            "train[2944:3144]",
            folders="oxford_iiit_pet oxford_pet",
        ),
        _vtab("svhn", "SVHN", natural, "svhn_cropped:3", 10, 26032, "train[65931:66131]"),
        _vtab("sun397", "Sun397", natural, "sun397/tfds:4", 397, 21750),
        _vtab("patch_camelyon", "Patch Camelyon", specialized, "patch_camelyon:2", 2, 32768),
        _vtab("eurosat", "EuroSAT", specialized, "eurosat/rgb:2", 10, 5400, "train[16200:16400]", "train[21600:]"),
        _vtab("resisc45", "Resisc45", specialized, "resisc45:3", 45, 6300, "train[18900:19100]", "train[25200:]"),
        _vtab("retinopathy", "Retinopathy", specialized, btgraham, 5, 42670, folders="diabetic_retinopathy"),
        _vtab("clevr_count", "Clevr/count", structured, "clevr:3", 8, *clevr, "clevr_count"),
        _vtab("clevr_distance", "Clevr/distance", structured, "clevr:3", 6, *clevr, "clevr_distance", "clevr_dist"),
        _vtab("dmlab", "DMLab", structured, "dmlab:2.0.1", 6, 22735),
        _vtab("kitti", "KITTI/distance", structured, "kitti:3", 4, 711, label_map="kitti_vehicle"),
        _vtab(
            "dsprites_location",
            "dSprites/location",
            structured,
            "dsprites:2",
            16,
            *dsprites,
            "dsprites_location",
            "dsprites_loc",
        ),
        _vtab(
            "dsprites_orientation",
            "dSprites/orientation",
            structured,
            "dsprites:2",
            16,
            *dsprites,
            "dsprites_orientation",
            "dsprites_ori",
        ),
        _vtab(
            "smallnorb_azimuth",
            "SmallNORB/azimuth",
            structured,
            "smallnorb:2",
            18,
            *norb,
            "smallnorb_azimuth",
            "smallnorb_azi",
        ),
        _vtab(
            "smallnorb_elevation",
            "SmallNORB/elevation",
            structured,
            "smallnorb:2",
            9,
            *norb,
            "smallnorb_elevation",
            "smallnorb_ele",
        ),
        _manyshot(
            "cifar100_full",
            "CIFAR-100 (full)",
            "cifar100:3",
            100,
            (45000, 5000, 10000),
            "train[:45000]",
            "train[45000:]",
            "test",
            label="label",
        ),
        _manyshot(
            "resisc45_full",
            "Resisc45 (full)",
            "resisc45:3",
            45,
            (18900, 6300, 6300),
            "train[:18900]",
            "train[18900:25200]",
            "train[25200:]",
            label="label",
        ),
        _manyshot(
            "clevr_distance_full",
            "Clevr/distance (full)",
            "clevr:3",
            6,
            (63000, 7000, 15000),
            "train[:63000]",
            "train[63000:]",
            "validation",
            label="clevr_distance",
        ),
        _fgvc("cub", "CUB-200-2011", 200, (5394, 600, 5794), "CUB_200_2011"),
        _fgvc("nabirds", "NABirds", 555, (21536, 2393, 24633)),
        _fgvc("flowers", "Oxford Flowers", 102, (1020, 1020, 6149), "OxfordFlower"),
        _fgvc("dogs", "Stanford Dogs", 120, (10800, 1200, 8580), "Stanford-dogs", "StanfordDogs"),
        _fgvc("cars", "Stanford Cars", 196, (7329, 815, 8041), "Stanford-cars", "StanfordCars"),
        _imagenet(),
        _other("digits", "Digits", "embedded", "embedded", 10, (800, 200, 797), "the digit", digits),
        _shapes("shapes_count", "Shapes/count", 8, "number of shapes - 1"),
        _shapes("shapes_location", "Shapes/location", 16, "x position in 16 bins of 1.5 pixels"),
        _shapes("shapes_orientation", "Shapes/orientation", 16, "where the tip points, in 16 bins of 22.5 degrees"),
        replace(
            _other(
                OWN,
                "",
                "own",
                "folder",
                0,
                (),
                "what the user's lists, folders or columns say",
                "the user's own images",
            ),
            sources=OWN_SOURCES,
        ),
    ]


TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _tasks()})
# further test sets -> their names, in the order of tables
SHIFTS = {"v2": "ImageNetV2", "sketch": "ImageNet-Sketch", "a": "ImageNet-A", "r": "ImageNet-R"}


def own_task(name: str) -> Task:
    """Images of the user's own under a name that they choose; raises `UserError` for one that cannot be used."""
    if name == OWN:
        return TASKS[OWN]
    if name in TASKS:
        raise UserError(
            f"dataset.name={name} is a task of the table, which images of your own are not; choose another name, or "
            f"give dataset={name}"
        )
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", name):
        raise UserError(f"dataset.name: got {shown(name)}; give letters, digits and _ . + -, at most 100")
    return find(name)


def find(name: str) -> Task:
    """The entry of a task; for a name that is not in the table, images of the user's own that are called so."""
    return TASKS.get(name) or replace(TASKS[OWN], name=name)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of tasks in the order of the table; those of the user's own come last, by name."""
    given = set(names)
    return [name for name in TASKS if name in given] + sorted(given - TASKS.keys())
