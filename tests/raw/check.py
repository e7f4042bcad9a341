"""Runs TFDS's own preparation on the generated archives and compares: `python -m raw.check cifar100 dtd`, in tests/."""

import argparse
import hashlib
import importlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raw.common import Raw, RawExample, registered

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef write(" in path.read_text())


def main() -> int:
    """Check the generators named on the command line, all where none is named; returns 1 when something is wrong."""
    parser = argparse.ArgumentParser(description="compare what TFDS makes of the generated archives with the answers")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a generator of this folder: {', '.join(NAMES)}")
    names = parser.parse_args().names
    if wrong := sorted(set(names) - set(NAMES)):
        parser.error(f"no generator {', '.join(wrong)}; allowed: {', '.join(NAMES)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return int(any([_report(name) for name in names or NAMES]))


def check(name: str, folder: Path) -> tuple[str, list[str]]:
    """Write the archives of generator `name` to `folder`, let TFDS prepare them there and compare.

    Returns:
        A line with version, sizes and seconds, and the faults, one line each.
    """
    import tensorflow  # noqa: F401  # imported before the time is measured, because it takes longer than the rest
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    begun = time.perf_counter()
    raw: Raw = importlib.import_module(f"raw.{name}").write(folder / "manual")
    written = time.perf_counter()
    builder = tfds.builder(raw.builder, data_dir=folder / "data")
    registered(builder, raw, folder / "manual")
    config = tfds.download.DownloadConfig(manual_dir=folder / "manual")
    builder.download_and_prepare(file_format="array_record", download_config=config)
    prepared = time.perf_counter()
    records = {split: list(builder.as_data_source(split)) for split in builder.info.splits}
    faults = compare_splits(records, raw.splits)
    sizes = ", ".join(f"{split} {len(examples)}" for split, examples in sorted(raw.splits.items()))
    megabytes = sum(path.stat().st_size for path in (folder / "manual").rglob("*") if path.is_file()) / 1e6
    seconds = f"written in {written - begun:.1f} s ({megabytes:.1f} MB), prepared in {prepared - written:.1f} s"
    return f"{builder.info.full_name}: {sizes}; {seconds}", faults


def compare_splits(records: Mapping[str, Sequence[Any]], splits: Mapping[str, Sequence[RawExample]]) -> list[str]:
    """What differs between the decoded records of each split and `Raw.splits`, one line each."""
    parts = sorted(part for split in splits for part in split.split("+"))
    if sorted(records) != parts:
        return [f"splits {sorted(records)} instead of {parts}"]
    faults = []
    for split, examples in splits.items():
        found = 0
        for part in split.split("+"):
            wanted = examples if part == split else _with_images_of(records[part], examples)
            found += len(wanted)
            faults += [f"{part}: {fault}" for fault in compare(records[part], in_order(part, wanted))]
        if found != len(examples):
            faults.append(f"{split}: {found} examples instead of {len(examples)}")
    return faults


def in_order(split: str, examples: Sequence[RawExample]) -> list[RawExample]:
    """The examples in TFDS's order: by the MD5 of the split's name followed by the key."""
    return sorted(examples, key=lambda example: hashlib.md5((split + example.key).encode()).digest())


def compare(records: Sequence[Any], examples: Sequence[RawExample]) -> list[str]:
    """What differs between the decoded records of a split and the examples expected, in the same order."""
    faults = []
    if len(records) != len(examples):
        faults.append(f"{len(records)} examples instead of {len(examples)}")
    if len({example.image.tobytes() for example in examples}) < len(examples):
        faults.append("two examples have the same image")
    differences = []
    for record, example in zip(records, examples, strict=False):
        if difference := _difference(_image(record), example.image):
            differences.append(difference)
        for task, label in example.labels.items():
            if (got := LABELS.get(task, _label)(record)) != label:
                faults.append(f"{task}: {example.key!r} has label {got} instead of {label}")
    if differences:
        faults.append(f"{len(differences)} images differ, the worst by {max(differences)}")
    return faults


def _report(name: str) -> bool:
    """Check one generator and print the result; whether something is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        line, faults = check(name, Path(folder))
    print(line, *(faults or ["all right"]), sep="\n  ", flush=True)
    return bool(faults)


def _with_images_of(records: Sequence[Any], examples: Sequence[RawExample]) -> list[RawExample]:
    """The examples whose image is among the records."""
    images = {_image(record).tobytes() for record in records}
    return [example for example in examples if example.image.tobytes() in images]


def _image(record: Any) -> np.ndarray:
    """The image that must be cached: a data source gives (H, W, 4) for an RGBA file, though it declares 3 channels."""
    image: np.ndarray = record["image"]
    if "label_x_position" in record:  # dSprites, in {0, 1}
        return image * np.uint8(255)
    return image[..., :3]


def _difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of the images in grey levels; infinite if shape or type differ."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return math.inf
    return float(np.abs(got.astype(int) - wanted).max())


def _label(record: Any) -> int:
    return int(record["label"])


def _place(value: float, upper: Sequence[float]) -> int:
    """The number of the interval that contains `value`; the upper end belongs to an interval."""
    return next(index for index, end in enumerate(upper) if value <= end)


def _clevr_distance(record: Any) -> int:
    return _place(min(float(third) for _, _, third in record["objects"]["pixel_coords"]), (8, 8.5, 9, 9.5, 10, 100))


def _kitti(record: Any) -> int:
    """Nearest car, van or truck: 0 up to 8 m, 1 up to 20 m, 2 up to 999 m, 3 where there is none."""
    found = zip(record["objects"]["type"], record["objects"]["location"], strict=True)
    return _place(min([float(place[2]) for kind, place in found if kind in (0, 1, 2)] + [1000.0]), (8, 20, 999, 1000))


LABELS: dict[str, Callable[[Any], int]] = {
    "smallnorb_azimuth": lambda record: int(record["label_azimuth"]),
    "smallnorb_elevation": lambda record: int(record["label_elevation"]),
    "dsprites_location": lambda record: int(record["label_x_position"]) // 2,
    "dsprites_orientation": lambda record: int(record["label_orientation"]) * 2 // 5,
    "clevr_count": lambda record: len(record["objects"]["3d_coords"]) - 3,
    "clevr_distance": _clevr_distance,
    "kitti": _kitti,
}

if __name__ == "__main__":
    raise SystemExit(main())
