"""Label maps of VTAB-1k: from an example of TFDS to the class of the task, which names its map in `tasks`.

Reference: google-research/task_adaptation (Apache-2.0), data/*.py.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

Example = Mapping[str, Any]

CLEVR_THRESHOLDS = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
KITTI_THRESHOLDS = (-100.0, 8.0, 20.0, 999.0)
_VEHICLES = 3  # types 0, 1 and 2 are car, van and truck
_FAR = 1000.0  # metres; the distance where there is no vehicle


def label(example: Example) -> int:
    """The example's own `label`."""
    return int(example["label"])


def clevr_count(example: Example) -> int:
    """Number of objects - 3: 3 .. 10 objects are classes 0 .. 7."""
    return len(example["objects"]["size"]) - 3


def clevr_distance(example: Example) -> int:
    """`bin_of` the smallest depth, pixel_coords[:, 2], in `CLEVR_THRESHOLDS`: classes 0 .. 5."""
    return bin_of(np.min(np.asarray(example["objects"]["pixel_coords"])[:, 2]), CLEVR_THRESHOLDS)


def kitti_vehicle(example: Example) -> int:
    """`bin_of` the smallest z in metres over cars, vans and trucks with 1000 appended, in `KITTI_THRESHOLDS`."""
    objects = example["objects"]
    types = np.asarray(objects["type"])
    depths = np.asarray(objects["location"]).reshape(-1, 3)[:, 2]
    return bin_of(min([_FAR, *depths[types < _VEHICLES]]), KITTI_THRESHOLDS)


def dsprites_location(example: Example) -> int:
    """floor(label_x_position / 2): 32 positions are 16 classes."""
    return int(example["label_x_position"]) // 2


def dsprites_orientation(example: Example) -> int:
    """floor(label_orientation / 2.5): 40 orientations are 16 classes of two or three."""
    return 2 * int(example["label_orientation"]) // 5


def smallnorb_azimuth(example: Example) -> int:
    """`label_azimuth`: 18 classes of 20 degrees."""
    return int(example["label_azimuth"])


def smallnorb_elevation(example: Example) -> int:
    """`label_elevation`: 9 classes of 5 degrees."""
    return int(example["label_elevation"])


def bin_of(value: float, thresholds: tuple[float, ...]) -> int:
    """The largest index i with thresholds[i] < value, or -1; compared in float32, as in the reference."""
    return int(np.count_nonzero(np.asarray(thresholds, np.float32) < np.float32(value))) - 1


LABEL_MAPS: Mapping[str, Callable[[Example], int]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            label,
            clevr_count,
            clevr_distance,
            kitti_vehicle,
            dsprites_location,
            dsprites_orientation,
            smallnorb_azimuth,
            smallnorb_elevation,
        )
    }
)
