"""CIFAR-100 in its binary version: rows of coarse label, fine label and 3072 pixels, channels first."""

from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.pictures import put, tarred

URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
ARCHIVE = "cifar-100-binary.tar.gz"
SIZES = {"train": 500, "test": 100}


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the archive: 500 training and 100 test images of noise, every fine label equally often."""
    rng = np.random.default_rng(seed)
    files = {
        "coarse_label_names.txt": "".join(f"coarse_{index:02d}\n" for index in range(20)).encode(),
        "fine_label_names.txt": "".join(f"fine_{index:02d}\n" for index in range(100)).encode() + b"\n",
    }
    splits = {}
    for split, count in SIZES.items():
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        fine = rng.permutation(np.arange(count) % 100)
        rows = np.empty((count, 2 + 3072), np.uint8)
        rows[:, 0] = rng.integers(0, 20, count)
        rows[:, 1] = fine
        rows[:, 2:] = images.transpose(0, 3, 1, 2).reshape(count, 3072)
        files[f"{split}.bin"] = rows.tobytes()
        # the key is the row number, in either split
        splits[split] = [RawExample(str(i), images[i], {"cifar100": int(fine[i])}) for i in range(count)]
    put(manual / ARCHIVE, tarred({f"cifar-100-binary/{name}": content for name, content in files.items()}))
    return Raw("cifar100", {URL: ARCHIVE}, splits)
