"""DMLab: TFRecord files of tf.train.Example with `image` (JPEG of 360 x 480), `filename` and `label`.

Both formats are written from their definitions: TensorFlow is not needed, and does not check its own output.
"""

import struct
from pathlib import Path

import numpy as np

from raw.common import Raw, RawExample
from raw.pictures import blocks, decoded, encoded, enlarged, noise, put, tarred

URL = "https://storage.googleapis.com/dmlab-vtab/dmlab.tar.gz"
ARCHIVE = "dmlab.tar.gz"
SIZES = {"train": 655, "validation": 226, "test": 227}
SHARDS = {"train": 2, "validation": 1, "test": 1}
HEIGHT, WIDTH = 360, 480  # TFDS accepts no other
NOISY = 3  # images of a split whose JPEG loses something


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the archive: a few images of blurred noise, the others upright bars, each a view of one row in memory."""
    rng = np.random.default_rng(seed)
    content: dict[str, bytes] = {}
    splits: dict[str, list[RawExample]] = {}
    for split, count in SIZES.items():
        splits[split], examples = [], []
        for index, label in enumerate(rng.permutation(np.arange(count) % 6).tolist()):
            if index < NOISY:
                image = encoded(enlarged(noise(rng, HEIGHT // 24, WIDTH // 24), HEIGHT, WIDTH), quality=75)
                pixels = decoded(image)
            else:
                pixels = np.broadcast_to(blocks(rng, 1, WIDTH // 8)[:1], (HEIGHT, WIDTH, 3))
                image = encoded(pixels)
            name = f"{split}_{index:06d}.jpg"
            examples.append(_example(image, name, label))
            splits[split].append(RawExample(name, pixels, {"dmlab": label}))
        shards, records = SHARDS[split], _records(examples)
        for shard in range(shards):
            content[f"dmlab-{split}.tfrecord-{shard:05d}-of-{shards:05d}"] = b"".join(records[shard::shards])
    put(manual / ARCHIVE, tarred(content))
    return Raw("dmlab", {URL: ARCHIVE}, splits)


def _example(image: bytes, name: str, label: int) -> bytes:
    """tf.train.Example: features (1) hold a map (1) from a name (1) to a value (2), of bytes (1) or integers (3)."""
    values = {
        "image": _field(1, _field(1, image)),
        "filename": _field(1, _field(1, name.encode())),
        "label": _field(3, _field(1, bytes([label]))),  # a packed list of one small number
    }
    return _field(1, b"".join(_field(1, _field(1, key.encode()) + _field(2, value)) for key, value in values.items()))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _records(contents: list[bytes]) -> list[bytes]:
    """A TFRecord of each: length, its checksum, content, its checksum."""
    lengths = [struct.pack("<Q", len(content)) for content in contents]
    parts = zip(lengths, _checksums(lengths), contents, _checksums(contents), strict=True)
    return [b"".join(part) for part in parts]


def _checksums(contents: list[bytes]) -> list[bytes]:
    """CRC-32C of each, rotated right by 15 bits, plus a constant; all contents advance by one byte at a time."""
    lengths = np.array([len(content) for content in contents])
    columns = np.zeros((lengths.max(), len(contents)), np.uint8)
    for index, content in enumerate(contents):
        columns[: len(content), index] = np.frombuffer(content, np.uint8)
    crc = np.full(len(contents), 0xFFFFFFFF, np.uint32)
    for position, column in enumerate(columns):
        crc = np.where(position < lengths, _TABLE[(crc ^ column) & 255] ^ crc >> 8, crc)
    crc = ~crc
    return [struct.pack("<I", int(one)) for one in (crc >> 15 | crc << 17) + np.uint32(0xA282EAD8)]


def _remainder(byte: int) -> int:
    """Of the division of one byte by the reflected Castagnoli polynomial."""
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = np.array([_remainder(byte) for byte in range(256)], np.uint32)
