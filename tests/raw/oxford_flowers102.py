"""Oxford Flowers: jpg/image_00001.jpg and on, their labels from 1 and the splits' image numbers in MATLAB files."""

import io
from pathlib import Path

import numpy as np
from scipy.io import savemat

from raw.common import Raw, RawExample
from raw.pictures import decoded, encoded, noise, put, tarred

BASE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
IMAGES, LABELS, SPLITS = "102flowers.tgz", "imagelabels.mat", "setid.mat"
SIZES = {"train": ("trnid", 10), "validation": ("valid", 10), "test": ("tstid", 61)}
CLASSES = 102


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the three files: noise of 24 to 40 pixels a side, labels that have the first and the last class."""
    rng = np.random.default_rng(seed)
    count = sum(size for _, size in SIZES.values())
    labels = rng.permutation(np.linspace(1, CLASSES, count).astype(np.uint8))
    images = []
    for _ in range(count):
        height, width = (int(side) for side in rng.integers(24, 41, 2))
        images.append(encoded(noise(rng, height, width)))
    # in the published file, too, the numbers of a split are neither consecutive nor in order
    numbers = iter(rng.permutation(count) + 1)
    drawn = {split: [int(next(numbers)) for _ in range(size)] for split, (_, size) in SIZES.items()}
    put(manual / IMAGES, tarred({f"jpg/image_{number:05d}.jpg": one for number, one in enumerate(images, start=1)}))
    put(manual / LABELS, _matlab({"labels": labels[None]}))
    put(manual / SPLITS, _matlab({SIZES[split][0]: np.array([ids], np.uint16) for split, ids in drawn.items()}))

    def example(number: int) -> RawExample:
        label = int(labels[number - 1]) - 1
        return RawExample(f"image_{number:05d}.jpg", decoded(images[number - 1]), {"flowers102": label})

    archives = {BASE + name: name for name in (IMAGES, LABELS, SPLITS)}
    splits = {split: [example(number) for number in ids] for split, ids in drawn.items()}
    return Raw("oxford_flowers102", archives, splits)


def _matlab(variables: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables)
    return buffer.getvalue()
