"""PatchCamelyon: for each split two gzipped HDF5 files, x (N, 96, 96, 3) uint8 and y (N, 1, 1, 1) uint8."""

import gzip
import io
from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.mosaic import mosaics

URL = "https://zenodo.org/record/2546921/files/"
SIZES = {"train": 2621, "valid": 327, "test": 327}


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the six archives: mosaics, half of them with label 1."""
    rng = np.random.default_rng(seed)
    manual.mkdir(parents=True, exist_ok=True)
    archives, splits = {}, {}
    for part, count in SIZES.items():
        images = mosaics(rng, count, 96, 3, 12)
        labels = rng.permutation(np.arange(count) % 2).astype(np.uint8)
        for field, content in (("x", images), ("y", labels.reshape(count, 1, 1, 1))):
            name = f"camelyonpatch_level_2_split_{part}_{field}.h5.gz"
            (manual / name).write_bytes(gzip.compress(_hdf5(field, content), compresslevel=1, mtime=0))
            archives[URL + name] = name
        split = "validation" if part == "valid" else part
        splits[split] = [RawExample(f"{part}_{i}", images[i], {"patch_camelyon": int(labels[i])}) for i in range(count)]
    return Raw("patch_camelyon", archives, splits)


def _hdf5(field: str, content: np.ndarray) -> bytes:
    """An HDF5 file with one data set."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset(field, data=content, chunks=(min(256, len(content)), *content.shape[1:]))
    return stream.getvalue()
