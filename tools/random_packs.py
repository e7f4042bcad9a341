"""Random images in the sizes and numbers of VTAB-1k and FGVC, to rehearse a whole sweep without the real data.

    python tools/random_packs.py OUT [TASK ...]        all tasks of VTAB-1k, or those that are named
    python tools/random_packs.py OUT --every 8 TASK    one test image in eight has the real size, the others 96 px

Writes a folder pack, or a set with FGVC's json files, for each task. Only `IMAGES` pictures of each split are drawn and
encoded, as JPEG; all others are hard links to them, so that 407,000 images take little disk but are read, decoded and
resized one by one. Labels go round the classes. What is trained on them means nothing: see docs/paper.md.
"""

import argparse
import itertools
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from aoft_bench.data import TASKS, Task, task, tasks
from aoft_bench.data.locations import JSON_LISTS
from aoft_bench.utils.errors import UserError

IMAGES = 40  # drawn for each split; a file can have 65,000 names on ext4
GREY = ("dsprites_location", "dsprites_orientation", "smallnorb_azimuth", "smallnorb_elevation")
PHOTOS = ((375, 500), (500, 333), (333, 500))  # of the sets whose images differ in size, (height, width)
SIZES = {
    "cifar100": ((32, 32),),
    "caltech101": ((200, 300), (300, 197), (225, 300)),
    "dtd": ((480, 640), (300, 450), (500, 500)),
    "flowers102": ((500, 667), (752, 500)),
    "svhn": ((32, 32),),
    "sun397": ((300, 400), (346, 346), (245, 490)),
    "patch_camelyon": ((96, 96),),
    "eurosat": ((64, 64),),
    "resisc45": ((256, 256),),
    "retinopathy": ((540, 600), (600, 600)),
    "clevr_count": ((320, 480),),
    "clevr_distance": ((320, 480),),
    "dmlab": ((360, 480),),
    "kitti": ((375, 1242),),
    "dsprites_location": ((64, 64),),
    "dsprites_orientation": ((64, 64),),
    "smallnorb_azimuth": ((96, 96),),
    "smallnorb_elevation": ((96, 96),),
}


def drawn(rng: np.random.Generator, shape: tuple[int, int], grey: bool) -> Image.Image:
    """Smooth random colours with some noise, which take about the bytes and the time of a photograph."""
    height, width = shape
    small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    pixels = np.clip(smooth + rng.normal(0, 8, (height, width, 1)), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("L" if grey else "RGB")


def write_split(folder: Path, task: Task, split: str, every: int, rng: np.random.Generator) -> list[str]:
    """Write the images of a split and return their names, relative to images/. every: see the module's text."""
    (folder / "images" / split).mkdir(parents=True)
    names = [f"{split}/{index:06d}.jpg" for index in range(task.sizes[split])]
    shapes = itertools.cycle(SIZES.get(task.name, PHOTOS))
    first = names[:IMAGES]
    for index, (name, shape) in enumerate(zip(first, shapes, strict=False)):
        if split == "test" and index % every:
            shape = (min(96, shape[0]), min(96, shape[1]))
        drawn(rng, shape, task.name in GREY).save(folder / "images" / name)
    for name, source in zip(names[IMAGES:], itertools.cycle(first), strict=False):
        os.link(folder / "images" / source, folder / "images" / name)
    return names


def write(root: Path, task: Task, every: int = 1) -> Path:
    """Write the images of a task and return their folder. every: see the module's text."""
    folder = root / task.folders[0]
    rng = np.random.default_rng(sorted(TASKS).index(task.name))
    for split in task.sizes:
        names = write_split(folder, task, split, every, rng)
        labels = {name: index % task.classes for index, name in enumerate(names)}
        if task.suite == "fgvc":
            (folder / JSON_LISTS[split]).write_text(json.dumps(labels), encoding="utf-8")
        else:
            lines = [f"images/{name} {label}\n" for name, label in labels.items()]
            (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--every", type=int, choices=range(1, IMAGES + 1), default=1, metavar="N")
    given = parser.parse_intermixed_args()
    try:
        for one in [task(name) for name in given.tasks or tasks("vtab1k")]:
            print(f"{one.name}: {sum(one.sizes.values()):,} images -> {write(given.out, one, given.every)}", flush=True)
    except (UserError, OSError) as error:  # a folder that is there already is one of these
        parser.error(str(error))
