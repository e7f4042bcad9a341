"""DTD: dtd/images/<texture>/<texture>_<number>.jpg of various sizes, and dtd/labels/{train1,val1,test1}.txt."""

import gzip
from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.mosaic import mosaics
from raw.pictures import decoded, encoded, put, tarred

URL = "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz"
ARCHIVE = "dtd-r1.0.1.tar.gz"
TEXTURES = """
banded blotchy braided bubbly bumpy chequered cobwebbed cracked crosshatched crystalline dotted fibrous flecked
freckled frilly gauzy grid grooved honeycombed interlaced knitted lacelike lined marbled matted meshed paisley
perforated pitted pleated polka-dotted porous potholed scaly smeared spiralled sprinkled stained stratified striped
studded swirly veined waffled woven wrinkled zigzagged
"""
LISTS = {"train": "train1", "validation": "val1", "test": "test1"}
COUNT = 18  # of each split: fewer than the textures, but the three together have them all


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the archive: mosaics of 48 to 80 pixels; the label is the texture's place in the alphabetical list."""
    rng = np.random.default_rng(seed)
    textures = TEXTURES.split()
    labels = rng.permutation(np.arange(3 * COUNT) % len(textures)).reshape(3, COUNT)
    files: dict[str, bytes] = {}
    splits: dict[str, list[RawExample]] = {}
    for (split, listed), drawn in zip(LISTS.items(), labels, strict=True):
        splits[split] = []
        for label in map(int, drawn):
            texture = textures[label]
            name = f"{texture}/{texture}_{len(files) + 2:04d}.jpg"
            height, width = rng.integers(48, 81, 2)
            content = encoded(mosaics(rng, 1, 80, 3, 8)[0, :height, :width])
            files[f"dtd/images/{name}"] = content
            splits[split].append(RawExample(name, decoded(content), {"dtd": label}))
        files[f"dtd/labels/{listed}.txt"] = "".join(f"{example.key}\n" for example in splits[split]).encode()
    # the published file is a plain tar too, whatever its name says
    put(manual / ARCHIVE, gzip.decompress(tarred(files)))
    return Raw("dtd", {URL: ARCHIVE}, splits)
