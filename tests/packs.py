"""Tiny packs, sets with json files and caches for the tests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from aoft_bench.data import task
from aoft_bench.data.locations import JSON_LISTS, Locations
from aoft_bench.data.prepared_task import PreparedTask, fill
from aoft_bench.data.sources.base import Example, Source
from aoft_bench.data.tasks import SPLITS
from aoft_bench.data.tfds import process

SIZES = {"train800": 6, "val200": 3, "test": 6}


def make_pack(
    root: Path,
    *,
    classes: int = 3,
    sizes: dict[str, int] | None = None,
    shape: tuple[int, int] | Sequence[tuple[int, int]] = (12, 12),
    suffix: str = ".png",
    class_names: bool = False,
    seed: int = 0,
) -> Path:
    """Write a valid folder pack of random RGB images to `root` and return it.

    `shape` is (height, width), or a sequence of them that the images take in turn. Labels go round 0 .. classes - 1.
    """
    rng = np.random.default_rng(seed)
    shapes: list[tuple[int, int]] = [shape] if isinstance(shape[0], int) else list(shape)  # type: ignore[list-item]
    for split, count in (sizes or SIZES).items():
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        lines = []
        for index in range(count):
            name = f"images/{split}/{index:06d}{suffix}"
            pixels = rng.integers(0, 256, (*shapes[index % len(shapes)], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name)
            lines.append(f"{name} {index % classes}")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    if class_names:
        (root / "classes.txt").write_text("".join(f"class {index}\n" for index in range(classes)))
    return root


def set_line(pack: Path, split: str, line: int, text: str) -> None:
    """Replace line `line` (from 1) of a list."""
    path = pack / f"{split}.txt"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


def make_json_set(root: Path, shape: Sequence[tuple[int, int]] = ((24, 30), (40, 22))) -> Path:
    """A pack with the json files of an FGVC set beside its lists; images of different sizes."""
    make_pack(root, shape=shape)
    for split, name in JSON_LISTS.items():
        entries = (line.split() for line in (root / f"{split}.txt").read_text().splitlines())
        (root / name).write_text(json.dumps({image: int(label) for image, label in entries}))
    return root


def tfds_cache(folder: Path, name: str, ids: Mapping[str, Sequence[str]], content: str | None = None) -> PreparedTask:
    """A cache of a task as from TFDS, with 2 x 2 images that have these ids; content: see `Source`."""
    entry = task(name)

    def read(split: str, index: int) -> Example:
        image = np.array([SPLITS.index(split), index // 256, index % 256, 7] * 3, np.uint8).reshape(2, 2, 3)
        return Example(image, index % entry.classes, ids[split][index])

    source = Source(
        kind="tfds",
        note="TFDS, generated",
        official=True,
        official_note="",
        classes=entry.classes,
        class_names=None,
        stamp=process.stamp(entry),
        sizes={split: len(ids[split]) for split in SPLITS},
        native_shape=lambda limit: (2, 2, 3),
        channels=lambda: 3,
        read=read,
        content=content,
    )
    return fill(entry, source, Locations(folder / "cache"), 16, "bicubic")


def make_images(
    root: Path, *, splits: Mapping[str, int], classes: Sequence[str] = ("ant", "bee"), side: int = 12
) -> Path:
    """An ImageFolder: `splits` gives how many images of each class each of its split folders has; "" is the root."""
    rng = np.random.default_rng(0)
    for split, count in splits.items():
        for name in classes:
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root


def make_table(root: Path, rows: Sequence[Sequence[str]], columns: str = "path,label,split") -> Path:
    """images.csv with these rows in `root`."""
    lines = [columns, *(",".join(row) for row in rows)]
    (root / "images.csv").write_text("\n".join(lines) + "\n")
    return root / "images.csv"


def rows_of(root: Path, names: Mapping[str, str] | None = None) -> list[list[str]]:
    """(path, label, split) of the images of an ImageFolder, in its order; names: what a class is called instead."""
    order = {"train": 0, "val": 1, "test": 2}
    paths = sorted((path.relative_to(root) for path in root.rglob("*.png")), key=lambda p: (order[p.parts[0]], p.parts))
    return [[str(path), (names or {}).get(path.parts[1], path.parts[1]), path.parts[0]] for path in paths]
