"""EuroSAT's RGB images: a zip of 2750/<class>/<class>_<number>.jpg, 64 x 64 pixels."""

from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.mosaic import mosaics
from raw.pictures import decoded, encoded, put, zipped

URL = "http://madm.dfki.de/files/sentinel/EuroSAT.zip"
ARCHIVE = "EuroSAT.zip"
CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
PER_CLASS = 27


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the archive: 270 mosaics; the label is the class's place in the alphabetical list."""
    rng = np.random.default_rng(seed)
    examples, files = [], {}
    for label, name in enumerate(CLASSES):
        for number, image in enumerate(mosaics(rng, PER_CLASS, 64, 3, 8), 1):
            file = f"{name}_{number}.jpg"
            content = files[f"2750/{name}/{file}"] = encoded(image)
            examples.append(RawExample(f"{name}_{file}", decoded(content), {"eurosat": label}))
    put(manual / ARCHIVE, zipped(files))
    return Raw("eurosat/rgb", {URL: ARCHIVE}, {"train": examples})
