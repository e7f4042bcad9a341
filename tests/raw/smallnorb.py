"""SmallNORB: gzipped binary matrices of image pairs (dat), categories (cat) and instance, elevation, ... (info)."""

import gzip
from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.mosaic import mosaics

URL = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
NAMES = {
    "train": "smallnorb-5x46789x9x18x6x2x96x96-training-{}.mat.gz",
    "test": "smallnorb-5x01235x9x18x6x2x96x96-testing-{}.mat.gz",
}
INSTANCES = {"train": [4, 6, 7, 8, 9], "test": [0, 1, 2, 3, 5]}
COUNT = 243  # of either split; odd, so that test[50%:] has to round
MAGIC = {"uint8": 0x1E3D4C55, "int32": 0x1E3D4C54}


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the six archives: two mosaics an example, all pairs of 18 azimuths and 9 elevations in either split."""
    rng = np.random.default_rng(seed)
    manual.mkdir(parents=True, exist_ok=True)
    archives, splits = {}, {}
    for split, name in NAMES.items():
        pairs = mosaics(rng, 2 * COUNT, 96, 1, 8).reshape(COUNT, 2, 96, 96, 1)
        poses = rng.permutation(np.arange(COUNT) % (18 * 9))
        azimuth, elevation = poses % 18, poses // 18
        category = np.arange(COUNT) % 5
        info = np.empty((COUNT, 4), np.int32)
        info[:, 0] = rng.choice(INSTANCES[split], COUNT)
        info[:, 1] = elevation
        info[:, 2] = 2 * azimuth  # the file counts in steps of 10 degrees, the photographs are 20 degrees apart
        info[:, 3] = rng.integers(0, 6, COUNT)
        for kind, matrix in (("dat", pairs[..., 0]), ("cat", category.astype(np.int32)), ("info", info)):
            content = gzip.compress(_binary_matrix(matrix), compresslevel=1, mtime=0)
            (manual / name.format(kind)).write_bytes(content)
            archives[URL + name.format(kind)] = name.format(kind)
        splits[split] = [
            RawExample(
                str(i),  # the example's number, in either split
                pairs[i, 0],
                {"smallnorb_azimuth": int(azimuth[i]), "smallnorb_elevation": int(elevation[i])},
            )
            for i in range(COUNT)
        ]
    return Raw("smallnorb", archives, splits)


def _binary_matrix(matrix: np.ndarray) -> bytes:
    """Magic, number of dimensions, at least three sizes (missing ones are 1) and the content, all little-endian."""
    sizes = [*matrix.shape, 1, 1][: max(3, matrix.ndim)]
    header = np.array([MAGIC[matrix.dtype.name], matrix.ndim, *sizes], "<i4")
    return header.tobytes() + matrix.astype(matrix.dtype.newbyteorder("<")).tobytes()
