"""SUN397, configuration tfds: one tar of SUN397/<letter>/<class>/sun_<letters>.jpg, read as a stream.

The splits are TFDS's own lists of file names; the archive has every hundredth file of each, and TFDS ignores
missing files. TFDS decodes each file with OpenCV, shrinks those of more than 120,000 pixels and encodes them again
at quality 95, so the pictures are chosen so that nothing is lost. As in the published archive, some files are no JPEG.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.pictures import blocks, decoded, encoded, noise, put, tarred, zipped

BASE = "https://vision.princeton.edu/projects/2010/SUN/"
IMAGES, PARTITIONS = "SUN397.tar.gz", "Partitions.zip"
LISTS = {"train": "tr", "validation": "va", "test": "te"}
SCALE = 100
REFUSED = ("c/church/outdoor/sun_bhenjvsvrtumjuri.jpg", "t/track/outdoor/sun_aophkoiosslinihb.jpg")
LARGE, SHRUNK = (400, 500), (310, 387)  # sides times sqrt(120000 / 200000) = 0.7746: 309.8 and 387.3, rounded


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the two archives: 761, 108 and 217 images; the label is the class's place in the alphabetical list."""
    rng = np.random.default_rng(seed)
    listed = {split: _listed(short) for split, short in LISTS.items()}
    classes = sorted({_class(name) for names in listed.values() for name in names})
    content = {"SUN397/ClassName.txt": "".join(f"{name}\n" for name in classes).encode()}
    content |= {f"SUN397/{name}": b"TFDS knows these by name and skips them" for name in REFUSED}
    content["SUN397/a/abbey/sun_inneitherofthelists.jpg"] = encoded(blocks(rng, 2, 2))
    splits: dict[str, list[RawExample]] = {}
    for split, names in listed.items():
        splits[split] = []
        for index, name in enumerate(names[::SCALE][: len(names) // SCALE]):
            content[f"SUN397{name}"], pixels = _file(rng, index)
            splits[split].append(RawExample(name, pixels, {"sun397": classes.index(_class(name))}))
    put(manual / IMAGES, tarred(content))
    put(manual / PARTITIONS, zipped({"Training_01.txt": b"", "Testing_01.txt": b""}))
    archives = {BASE + IMAGES: IMAGES, BASE + "download/" + PARTITIONS: PARTITIONS}
    return Raw("sun397/tfds", archives, splits)


def _listed(short: str) -> list[str]:
    """TFDS's list of a split: /<letter>/<class>/sun_<letters>.jpg, some classes a folder deeper."""
    return (files("tensorflow_datasets") / f"image_classification/sun397_tfds_{short}.txt").read_text().split()


def _class(name: str) -> str:
    return name.rsplit("/", 1)[0]


def _file(rng: np.random.Generator, index: int) -> tuple[bytes, np.ndarray]:
    """The bytes of a split's file, always named .jpg, and the pixels that TFDS makes of it; the first five are odd."""
    pixels = blocks(rng, int(rng.integers(2, 6)), int(rng.integers(2, 6)))
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    if index == 0:
        return encoded(np.concatenate([pixels, noise(rng, *pixels.shape[:2])[..., :1]], axis=2), "PNG"), pixels
    if index == 1:
        return encoded(pixels, "BMP"), pixels
    if index == 2:
        return encoded(grey[..., 0], "GIF"), grey
    if index == 3:
        return encoded(grey[..., 0], "PNG"), grey
    if index == 4:
        even = np.broadcast_to(pixels[0, 0], (*LARGE, 3))
        return encoded(even), even[: SHRUNK[0], : SHRUNK[1]]
    content = encoded(pixels)
    return content, decoded(content)
