"""Oxford-IIIT Pet: images/<Breed>_<number>.jpg, and lists, trimaps and boxes of the heads in annotations/.

TFDS 4.0.0 encodes a dozen images of known names anew, because the published files are damaged or no JPEG. Three of
these names are used, one of them for a PNG with an alpha channel, with pictures that this keeps bit for bit. A GIF
would stop TFDS (its encoder wants three dimensions); the published archive has some, but no list names them.
"""

from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.pictures import blocks, decoded, encoded, noise, put, tarred

BASE = "https://thor.robots.ox.ac.uk/~vgg/data/pets/"
IMAGES, ANNOTATIONS = "images.tar.gz", "annotations.tar.gz"
BREEDS = {  # number in the lists, from 1 in alphabetical order without regard to case; cats are capitalised
    1: "Abyssinian",
    2: "american_bulldog",
    5: "beagle",
    11: "chihuahua",
    12: "Egyptian_Mau",
    33: "Siamese",
    34: "Sphynx",
    37: "yorkshire_terrier",
}
SIZES = {"train": ("trainval.txt", 36), "test": ("test.txt", 36)}
RECODED = {"train": ["beagle_116", "Egyptian_Mau_14"], "test": ["chihuahua_121"]}
WITH_ALPHA = "Egyptian_Mau_14"


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the two archives: noise of 24 to 40 pixels a side; of the test images no boxes, as published."""
    rng = np.random.default_rng(seed)
    unlisted = {"images/Abyssinian_34.jpg": encoded(blocks(rng, 2, 2), "GIF")}
    images = {"images/Abyssinian_100.mat": b"no image"} | unlisted
    notes = {"annotations/README": b"see the paper\n", "annotations/trimaps/._beagle_116.png": b"a resource fork"}
    splits: dict[str, list[RawExample]] = {}
    for split, (listing, count) in SIZES.items():
        lines, splits[split] = [], []
        for name, number in _names(rng, split, count):
            content = _image(rng, name)
            pixels = decoded(content)
            images[f"images/{name}.jpg"] = content
            notes[f"annotations/trimaps/{name}.png"] = encoded(_trimap(rng, *pixels.shape[:2]), "PNG")
            if split == "train":
                notes[f"annotations/xmls/{name}.xml"] = _box(*pixels.shape[:2])
            species = 1 if name[0].isupper() else 2
            lines.append(f"{name} {number} {species} 1")
            splits[split].append(RawExample(f"{name}.jpg", pixels, {"pets": number - 1}))
        notes[f"annotations/{listing}"] = "".join(f"{line}\n" for line in lines).encode()
    put(manual / IMAGES, tarred(images))
    put(manual / ANNOTATIONS, tarred(notes))
    return Raw("oxford_iiit_pet", {BASE + name: name for name in (IMAGES, ANNOTATIONS)}, splits)


def _names(rng: np.random.Generator, split: str, count: int) -> list[tuple[str, int]]:
    """(file name without its suffix, breed's number) of a split, all breeds in turn, behind the recoded ones."""
    numbers = {breed: number for number, breed in BREEDS.items()}
    special = [(name, numbers[name.rsplit("_", 1)[0]]) for name in RECODED[split]]
    first = 200 if split == "train" else 300
    drawn = [(index, int(rng.choice(list(BREEDS)))) for index in range(len(BREEDS), count - len(special))]
    turns = [*enumerate(BREEDS), *drawn]
    return special + [(f"{BREEDS[number]}_{first + index}", number) for index, number in turns]


def _image(rng: np.random.Generator, name: str) -> bytes:
    if name == WITH_ALPHA:
        colours = blocks(rng, 3, 4)
        return encoded(np.concatenate([colours, noise(rng, *colours.shape[:2])[..., :1]], axis=2), "PNG")
    if any(name in names for names in RECODED.values()):
        return encoded(blocks(rng, 4, 3))
    height, width = (int(side) for side in rng.integers(24, 41, 2))
    return encoded(noise(rng, height, width))


def _trimap(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Pet 1, background 2, border 3, of the image's size."""
    return rng.integers(1, 4, (height, width), dtype=np.uint8)


def _box(height: int, width: int) -> bytes:
    """The head's box in the XML of PASCAL VOC."""
    corners = f"<xmin>2</xmin><ymin>3</ymin><xmax>{width // 2}</xmax><ymax>{height // 2}</ymax>"
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}<object><name>cat</name><bndbox>{corners}</bndbox></object></annotation>\n".encode()
