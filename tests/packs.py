"""Tiny folder packs for the tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

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
