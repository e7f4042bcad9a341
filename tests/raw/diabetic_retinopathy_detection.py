"""Diabetic retinopathy, configuration btgraham-300: JPEG files in train/, test/ and sample/, and two CSV files.

TFDS scales each photograph until the middle row has 600 pixels that are not black, subtracts the local mean (a
Gaussian of 10 pixels) four times enlarged from 128, greys pixels more than 270 pixels from the centre, cuts
off the margin and encodes at quality 72. The photographs are chosen so that the result is known:

* low strips of 600 pixels' width, a fine pattern around 128 whose local mean is 128 everywhere, so that the pattern
  comes out four times as strong. It ends before the edge of the disk, and is encoded by Pillow, which has the same
  encoder as OpenCV;
* an even frame and a black one: all 128, of the size that the scaling gives.
"""

from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.pictures import decoded, encoded, put

URL = "https://storage.googleapis.com/kaggle-forum-message-attachments/90528/2877/retinopathy_solution.csv"
ARCHIVE = "retinopathy_solution.csv"
SIZES = {"train": ("train", 351), "validation": ("test", 109), "test": ("test", 427), "sample": ("sample", 10)}
USAGE = {"validation": "Public", "test": "Private"}
STRIP = (16, 600)
MARGIN, EDGE = 30, 40  # pixels that are cut off at either end of a strip, and that have no pattern
WAVE = np.array([1, 1, -1, -1, -1, -1, 1, 1])  # neither mean nor slope: the Gaussian leaves less than 0.01 of it
QUALITY = 72


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the folders and lists; `manual` is TFDS's manual folder itself. `sample` has no labels, -1 in TFDS."""
    rng = np.random.default_rng(seed)
    splits: dict[str, list[RawExample]] = {split: [] for split in SIZES}
    rows = []
    for split, (folder, count) in SIZES.items():
        for index, level in enumerate((np.arange(count) % 5).tolist()):
            name = _name(split, index)
            photograph, pixels = _photograph(rng, index if split in ("train", "test") else index + 2)
            put(manual / folder / f"{name}.jpeg", photograph)
            splits[split].append(RawExample(name, pixels, {} if split == "sample" else {"retinopathy": level}))
            rows.append((split, name, level))
    train = [f"{name},{level}\n" for split, name, level in rows if split == "train"]
    solution = [f"{name},{level},{USAGE[split]}\n" for split, name, level in rows if split in USAGE]
    put(manual / "trainLabels.csv", "".join(["image,level\n", *train]).encode())
    put(manual / ARCHIVE, "".join(["image,level,Usage\n", *solution]).encode())
    return Raw("diabetic_retinopathy_detection/btgraham-300", {URL: ARCHIVE}, splits)


def _name(split: str, index: int) -> str:
    """<patient>_<eye>; of test/ and its list of labels validation has the left eyes here, and test the right ones."""
    if split in USAGE:
        return f"{index + 1}_{'left' if split == 'validation' else 'right'}"
    return f"{index // 2 + 1}_{('left', 'right')[index % 2]}"


def _photograph(rng: np.random.Generator, index: int) -> tuple[bytes, np.ndarray]:
    """The JPEG file and the image TFDS makes of it: first the even frame, then the black one, then strips."""
    if index == 0:
        # 150 pixels are made 600; 100 become 400, of which nothing is cut off
        return encoded(_even(100, 150, (190, 110, 60))), _even(400, 540, (128, 128, 128))
    if index == 1:
        # nothing to measure: TFDS takes half the height for the radius, so 20 pixels are made 600
        return encoded(_even(20, 30, (0, 0, 0))), _even(540, 540, (128, 128, 128))
    width = STRIP[1]
    strength = rng.integers(-12, 13, (width - 2 * EDGE) // len(WAVE))
    pattern = np.zeros(width, int)
    pattern[EDGE:-EDGE] = (strength[:, None] * WAVE).ravel()
    # of this strip, not of the one drawn: JPEG of quality 95 moves a pixel by one or two
    photograph = encoded(_grey(128 + pattern))
    contrast = 128 + 4 * (decoded(photograph)[0, :, 0].astype(int) - 128)
    return photograph, decoded(encoded(_grey(contrast[MARGIN:-MARGIN]), quality=QUALITY))


def _even(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def _grey(row: np.ndarray) -> np.ndarray:
    """The strip (16, W, 3) all of whose rows are this one."""
    return np.repeat(np.tile(row.astype(np.uint8), (STRIP[0], 1))[..., None], 3, axis=2)
