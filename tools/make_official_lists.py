"""Write the official example lists of VTAB-1k, aoft_bench/data/tfds/lists/<builder>.txt.gz, without one image.

Run from the repository root:  python tools/make_official_lists.py [<builder> ...]

The keys are those that the builders of tensorflow_datasets 4.9.10 yield in `_generate_examples`. Their code does not
say that the files of eurosat, resisc45 and CLEVR are numbered without gaps: the headers of these lists state it as an
assumption. Only sun397 needs tensorflow_datasets itself, for the names in its split files. The same input gives the
same bytes.
"""

import gzip
import importlib.util
import io
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aoft_bench.data.tasks import SPLITS, TASKS, Task
from aoft_bench.data.tfds.official import FOLDER, LISTS, digest, tfds_order
from aoft_bench.utils.errors import unknown

Keys = Mapping[str, Iterable[str]]  # split -> the keys of its examples, in any order; an index as its digits

# images of each class, files <class>_1.jpg ... <class>_<n>.jpg
EUROSAT = {
    "AnnualCrop": 3000,
    "Forest": 3000,
    "HerbaceousVegetation": 3000,
    "Highway": 2500,
    "Industrial": 2500,
    "Pasture": 2000,
    "PermanentCrop": 2500,
    "Residential": 3000,
    "River": 2500,
    "SeaLake": 3000,
}
RESISC45 = (
    "airplane airport baseball_diamond basketball_court beach bridge chaparral church circular_farmland cloud "
    "commercial_area dense_residential desert forest freeway golf_course ground_track_field harbor industrial_area "
    "intersection island lake meadow medium_residential mobile_home_park mountain overpass palace parking_lot railway "
    "railway_station rectangular_farmland river roundabout runway sea_ice ship snowberg sparse_residential stadium "
    "storage_tank tennis_court terrace thermal_power_station wetland"
)


@dataclass(frozen=True)
class Builder:
    """The keys of a TFDS builder's examples, its versions that have them, their rule, and what is assumed."""

    versions: str
    rule: str
    assumed: str
    keys: Callable[[], Keys]


def _counts(**sizes: int) -> Callable[[], Keys]:
    return lambda: {split: map(str, range(count)) for split, count in sizes.items()}


def _patch_camelyon() -> Keys:
    files = {"train": ("train", 262144), "validation": ("valid", 32768), "test": ("test", 32768)}
    return {split: [f"{file}_{index}" for index in range(count)] for split, (file, count) in files.items()}


def _clevr() -> Keys:
    files = {"train": ("train", 70000), "validation": ("val", 15000), "test": ("test", 15000)}
    return {
        split: [f"CLEVR_{file}_{index:06d}.png" for index in range(count)] for split, (file, count) in files.items()
    }


def _eurosat() -> Keys:
    return {"train": [f"{name}_{name}_{i}.jpg" for name, count in EUROSAT.items() for i in range(1, count + 1)]}


def _resisc45() -> Keys:
    return {"train": [f"{name}_{name}_{i:03d}.jpg" for name in RESISC45.split() for i in range(1, 701)]}


def _sun397() -> Keys:
    found = importlib.util.find_spec("tensorflow_datasets")
    if found is None or not found.submodule_search_locations:
        sys.exit("sun397 needs tensorflow_datasets (pip install tensorflow_datasets), whose files contain the names")
    folder = Path(found.submodule_search_locations[0], "image_classification")
    # the builder leaves these two out too: they are decoded differently on different systems
    undecodable = {"/c/church/outdoor/sun_bhenjvsvrtumjuri.jpg", "/t/track/outdoor/sun_aophkoiosslinihb.jpg"}
    parts = {"train": "tr", "validation": "va", "test": "te"}
    return {
        split: sorted(set((folder / f"sun397_tfds_{part}.txt").read_text().splitlines()) - undecodable)
        for split, part in parts.items()
    }


BUILDERS = {
    "cifar100": Builder("3.0.2", "index in train.bin and test.bin, from 0", "", _counts(train=50000, test=10000)),
    "clevr": Builder("3.0.0, 3.1.0", "file name", "the files of a split are numbered from 000000 without gaps", _clevr),
    "dsprites": Builder("2.0.0, 2.1.0", "index in the HDF5 file, from 0", "", _counts(train=737280)),
    "eurosat": Builder(
        "2.0.0", "<class>_<file name>", "the files of a class are numbered from 1 without gaps", _eurosat
    ),
    "patch_camelyon": Builder(
        "2.0.0", "train_, valid_ or test_ and the index in the HDF5 file, from 0", "", _patch_camelyon
    ),
    "resisc45": Builder(
        "3.0.0", "<class>_<file name>", "the files of a class are numbered 001 to 700 without gaps", _resisc45
    ),
    "smallnorb": Builder(
        "2.0.0, 2.1.0", "index in the training and testing files, from 0", "", _counts(train=24300, test=24300)
    ),
    "sun397": Builder("4.0.0", "file name with its class folders, from TFDS's sun397_tfds_{tr,va,te}.txt", "", _sun397),
    "svhn_cropped": Builder(
        "3.0.0, 3.1.0", "index in train_32x32.mat and test_32x32.mat, from 0", "", _counts(train=73257, test=26032)
    ),
}


def cut(expression: str, ordered: Mapping[str, list[str]]) -> list[str]:
    """The keys of a TFDS split expression such as test, train[800:1000] or test[50%:].

    Percent borders are rounded to the closest example, as in TFDS. Raises `ValueError` for another form.
    """
    parts = re.fullmatch(r"(\w+)(?:\[(\d+%?)?:(\d+%?)?\])?", expression)
    if parts is None:
        raise ValueError(f"cannot cut {expression!r}")
    keys = ordered[parts[1]]

    def border(text: str | None, default: int) -> int:
        if text is None:
            return default
        return round(int(text[:-1]) * len(keys) / 100) if text.endswith("%") else int(text)

    return keys[border(parts[2], 0) : border(parts[3], len(keys))]


def tasks_of(name: str) -> list[Task]:
    """The tasks of a builder; they have the same slices."""
    vtab = (task for task in TASKS.values() if task.builder and task.suite == "vtab1k")
    return [task for task in vtab if re.split("[:/]", str(task.builder))[0] == name]


def text(name: str) -> str:
    """The list of a builder, header and blocks; see `aoft_bench.data.tfds.official` for the format."""
    builder, tasks = BUILDERS[name], tasks_of(name)
    slices = tasks[0].slices or {}
    ordered = {split: tfds_order(split, keys) for split, keys in builder.keys().items()}
    blocks = {split: cut(slices[split], ordered) for split in SPLITS}
    for split, ids in blocks.items():
        if len(ids) != tasks[0].sizes[split]:
            raise ValueError(f"{name}: {len(ids)} examples in {split}, the task has {tasks[0].sizes[split]}")
    header = [
        f"the examples of VTAB-1k in the TFDS builder {tasks[0].builder}, in TFDS's order",
        f"tasks: {', '.join(task.name for task in tasks)}",
        f"versions: {builder.versions}",
        f"slices: {', '.join(f'{split} = {slices[split]}' for split in SPLITS)}",
        f"keys: {builder.rule}",
        "order: ascending md5(split name + key); written by tools/make_official_lists.py, without the images",
        *([f"assumes: {builder.assumed}"] if builder.assumed else []),
        *(f"sha256 {split} {digest(ids)}" for split, ids in blocks.items()),
    ]
    lines = [f"# {line}" for line in header]
    for split, ids in blocks.items():
        lines += [f"[{split}] {len(ids)}", *ids]
    return "\n".join(lines) + "\n"


def compressed(content: str) -> bytes:
    """The list as gzip, without time and name in its header."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(content.encode())
    return buffer.getvalue()


def main() -> None:
    """Write the lists of the builders named on the command line, or all."""
    names = sys.argv[1:] or list(LISTS)
    for name in names:
        if name not in BUILDERS:
            sys.exit(str(unknown("builder", name, BUILDERS)))
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        path = FOLDER / f"{name}.txt.gz"
        path.write_bytes(compressed(text(name)))
        print(f"{path.name}  {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
