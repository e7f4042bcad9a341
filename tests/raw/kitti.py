"""KITTI objects: training/image_2/<id>.png, training/label_2/<id>.txt and the devkit's mapping of ids to videos.

TFDS makes train, validation and test of the labelled images, a tenth of the videos each for the last two, drawn with
a fixed seed from the sorted names. The label is the interval of the smallest z among cars, vans and trucks: up
to 8, up to 20, farther, or no such object.
"""

from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.pictures import encoded, noise, put, zipped

BASE = "https://s3.eu-central-1.amazonaws.com/avg-kitti/"
IMAGES, LABELS, DEVKIT = "data_object_image_2.zip", "data_object_label_2.zip", "devkit_object.zip"
VIDEOS = 20
FRAMES = {"train": [4] * 16, "validation": [2, 3], "test": [3, 5]}  # images of each video: 64, 5 and 8 together
SCENES: list[tuple[int, list[tuple[str, float]]]] = [  # label, and (type, z) of the objects
    (0, [("Car", 4.5)]),
    (0, [("Car", 8.0)]),  # 8 is not less than 8
    (0, [("Van", 6.2), ("Car", 30.0)]),
    (0, [("Car", -1.5), ("Pedestrian", 9.0)]),  # beside the camera, half of it behind
    (1, [("Car", 8.01)]),
    (1, [("Truck", 20.0)]),
    (1, [("Car", 13.7), ("Cyclist", 3.0), ("Car", 15.1)]),  # the nearest object is no vehicle
    (2, [("Car", 20.01)]),
    (2, [("Van", 45.3), ("Tram", 5.0), ("Misc", 2.0), ("Person_sitting", 1.0)]),
    (2, [("Truck", 87.4), ("DontCare", -1000.0)]),
    (3, []),
    (3, [("DontCare", -1000.0)]),  # TFDS leaves these out, or every such image would have label 0
    (3, [("Pedestrian", 5.0), ("Cyclist", 12.0)]),
    (3, [("Tram", 7.0)]),
]


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the three archives: noise of 36 to 37 by 122 to 124 pixels, as varied as the published sizes."""
    rng = np.random.default_rng(seed)
    videos = [f"2011_09_26_drive_{number:04d}_sync" for number in range(1, 2 * VIDEOS, 2)]
    owners = _owners(videos)
    count = sum(map(sum, FRAMES.values()))
    lines = [(video, frame) for video, (_, frames) in owners.items() for frame in range(frames)]
    order = rng.permutation(count).tolist()  # image i is line order[i] of the mapping
    images, labels = {}, {}
    splits: dict[str, list[RawExample]] = {split: [] for split in FRAMES}
    for index, line in enumerate(order):
        split = owners[lines[line][0]][0]
        pixels = noise(rng, int(rng.integers(36, 38)), int(rng.integers(122, 125)))
        label, objects = SCENES[index % len(SCENES)]
        images[f"training/image_2/{index:06d}.png"] = encoded(pixels, "PNG")
        labels[f"training/label_2/{index:06d}.txt"] = "".join(_line(rng, *one) for one in objects).encode()
        splits[split].append(RawExample(f"{index:06d}.png", pixels, {"kitti": label}))
    images["testing/image_2/000000.png"] = encoded(noise(rng, 37, 124), "PNG")
    mapping = "".join(f"2011_09_26 {video} {frame:010d}\n" for video, frame in lines)
    devkit = {
        "readme.txt": b"see the paper\n",
        "mapping/train_rand.txt": ",".join(str(line + 1) for line in order).encode(),
        "mapping/train_mapping.txt": mapping.encode(),
    }
    for name, content in {IMAGES: images, LABELS: labels, DEVKIT: devkit}.items():
        put(manual / name, zipped(content))
    return Raw("kitti", {BASE + name: name for name in (IMAGES, LABELS, DEVKIT)}, splits)


def _owners(videos: list[str]) -> dict[str, tuple[str, int]]:
    """Video to its split and number of frames, drawn as TFDS does: test first, validation from what is left."""
    state = np.random.RandomState(123)
    test = state.choice(sorted(videos), VIDEOS // 10, replace=False).tolist()
    validation = state.choice(sorted({*videos} - {*test}), VIDEOS // 10, replace=False).tolist()
    train = [video for video in videos if video not in test + validation]
    chosen = {"train": train, "validation": validation, "test": test}
    pairs = {s: zip(chosen[s], FRAMES[s], strict=True) for s in FRAMES}
    return {video: (split, frames) for split, both in pairs.items() for video, frames in both}


def _line(rng: np.random.Generator, kind: str, z: float) -> str:
    """A line of a label file: type, truncated, occluded, alpha, box, height, width, length, x, y, z, rotation."""
    left, right = sorted(rng.uniform(0, 120, 2).round(2).tolist())
    top, bottom = sorted(rng.uniform(0, 35, 2).round(2).tolist())
    box = f"{left} {top} {right} {bottom}"
    if kind == "DontCare":
        return f"DontCare -1 -1 -10 {box} -1 -1 -1 -1000 -1000 -1000 -10\n"
    return f"{kind} 0.00 {rng.integers(4)} -1.58 {box} 1.65 1.67 3.64 {rng.uniform(-9, 9):.2f} 1.71 {z:.2f} -1.59\n"
