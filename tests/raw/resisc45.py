"""RESISC45, manual data: the unpacked folder NWPU-RESISC45/<class>/<class>_<number>.jpg, 256 x 256 pixels."""

from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.mosaic import mosaics
from raw.pictures import decoded, encoded, put

CLASSES = """
airplane airport baseball_diamond basketball_court beach bridge chaparral church circular_farmland cloud
commercial_area dense_residential desert forest freeway golf_course ground_track_field harbor industrial_area
intersection island lake meadow medium_residential mobile_home_park mountain overpass palace parking_lot railway
railway_station rectangular_farmland river roundabout runway sea_ice ship snowberg sparse_residential stadium
storage_tank tennis_court terrace thermal_power_station wetland
"""
PER_CLASS = 7


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the folder: 315 mosaics; the label is the class's place in the alphabetical list."""
    rng = np.random.default_rng(seed)
    examples = []
    for label, name in enumerate(CLASSES.split()):
        for number, image in enumerate(mosaics(rng, PER_CLASS, 256, 3, 16), 1):
            content = encoded(image)
            file = f"{name}_{number:03d}.jpg"
            put(manual / "NWPU-RESISC45" / name / file, content)
            examples.append(RawExample(f"{name}_{file}", decoded(content), {"resisc45": label}))
    return Raw("resisc45", {}, {"train": examples})
