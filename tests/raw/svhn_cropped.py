"""SVHN's cropped digits: MATLAB files with X (32, 32, 3, N) uint8 and y (N, 1), where 10 stands for the digit 0."""

from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample

URL = "http://ufldl.stanford.edu/housenumbers/"
SIZES = {"train": 733, "test": 260, "extra": 5311}  # the builder insists on the third, no task reads it


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the three archives: images of noise, the ten digits equally often."""
    from scipy.io import savemat

    rng = np.random.default_rng(seed)
    manual.mkdir(parents=True, exist_ok=True)
    archives, splits = {}, {}
    for split, count in SIZES.items():
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        digits = rng.permutation(np.arange(count) % 10)
        stored = np.where(digits == 0, 10, digits).astype(np.uint8)
        name = f"{split}_32x32.mat"
        savemat(manual / name, {"X": images.transpose(1, 2, 3, 0), "y": stored[:, None]})
        archives[URL + name] = name
        # the key is the image number, in every split
        splits[split] = [RawExample(str(i), images[i], {"svhn": int(digits[i])}) for i in range(count)]
    return Raw("svhn_cropped", archives, splits)
