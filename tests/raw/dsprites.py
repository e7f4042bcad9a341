"""dSprites: one HDF5 file with imgs (N, 64, 64) in {0, 1}, latents/classes (N, 6) and latents/values (N, 6)."""

from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.mosaic import mosaics

ARCHIVE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5"
URL = f"https://github.com/deepmind/dsprites-dataset/blob/master/{ARCHIVE}?raw=true"
COUNT = 7373
CLASSES = (1, 3, 6, 40, 32, 32)  # colour, shape, scale, orientation, x, y


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the archive: black and white mosaics; the latents are drawn and do not describe them."""
    import h5py

    rng = np.random.default_rng(seed)
    images = mosaics(rng, COUNT, 64, 1, 8) % 2
    classes = np.stack([rng.permutation(np.arange(COUNT) % n) for n in CLASSES], axis=1)
    manual.mkdir(parents=True, exist_ok=True)
    with h5py.File(manual / ARCHIVE, "w") as file:
        file.create_dataset("imgs", data=images[..., 0], chunks=(256, 64, 64), compression="gzip", compression_opts=1)
        file.create_dataset("latents/classes", data=classes.astype(np.int64))
        file.create_dataset("latents/values", data=_values(classes))
    examples = [
        # the key is the image number; the cached image is the stored one times 255
        RawExample(
            str(i),
            images[i] * np.uint8(255),
            {
                "dsprites_location": int(classes[i, 4]) // 2,
                "dsprites_orientation": _orientation_class(int(classes[i, 3])),
            },
        )
        for i in range(COUNT)
    ]
    return Raw("dsprites", {URL: ARCHIVE}, {"train": examples})


def _orientation_class(orientation: int) -> int:
    """16 classes of 40 orientations: of every five the first three make one class, the other two the next."""
    fives, rest = divmod(orientation, 5)
    return 2 * fives + (0 if rest < 3 else 1)


def _values(classes: np.ndarray) -> np.ndarray:
    """What the latent classes stand for: (N, 6) float64."""
    scales, turns, places = np.linspace(0.5, 1, 6), np.linspace(0, 2 * np.pi, 40), np.linspace(0, 1, 32)
    colour, shape = np.array([1.0]), np.array([1.0, 2.0, 3.0])
    meanings = (colour, shape, scales, turns, places, places)
    return np.stack([meaning[column] for meaning, column in zip(meanings, classes.T, strict=True)], axis=1)
