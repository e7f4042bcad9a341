"""Caltech-101: a zip with 101_ObjectCategories.tar.gz, a folder of JPEG files for each class.

TFDS insists on 30 images of each class for its train split, so 1:100 would be a single class; six classes of 40 give
180 and 60. It draws them with a fixed seed, but from a listing in the order of the file system. The split of an image
is therefore not known when the archive is written, and the only entry of `Raw.splits` is "train+test".
BACKGROUND_Google has the published archive's file `tmp`: if it is drawn, train has 179 images and test 61.
"""

from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.pictures import decoded, encoded, noise, put, tarred, zipped

URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip?download=1"
ARCHIVE = "caltech-101.zip"
LABELS = {  # place in the alphabetical list of the 102 lower-case names
    "accordion": 0,
    "BACKGROUND_Google": 4,
    "Faces": 37,
    "Faces_easy": 38,
    "car_side": 16,
    "yin_yang": 101,
}
TRAIN = 30  # images of a class that go to train
COUNT = 40
GREY = "car_side"  # all of its published images are grey JPEG files


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the archive: noise of 24 to 40 pixels a side, 40 images of each of six classes."""
    rng = np.random.default_rng(seed)
    files, examples = {"101_ObjectCategories/BACKGROUND_Google/tmp": b"no image"}, []
    for name, label in LABELS.items():
        for number in range(1, COUNT + 1):
            height, width = (int(side) for side in rng.integers(24, 41, 2))
            image = noise(rng, height, width)
            content = encoded(image[..., 0] if name == GREY else image)
            key = f"{name}/image_{number:04d}.jpg"
            files[f"101_ObjectCategories/{key}"] = content
            examples.append(RawExample(key, decoded(content), {"caltech101": label}))
    outer = {
        "caltech-101/101_ObjectCategories.tar.gz": tarred(files),
        "caltech-101/show_annotation.m": b"% the annotations are not read\n",
        "__MACOSX/caltech-101/._101_ObjectCategories.tar.gz": b"a resource fork",
    }
    put(manual / ARCHIVE, zipped(outer))
    return Raw("caltech101", {URL: ARCHIVE}, {"train+test": examples})
