"""Folder packs, their images, lists and caches, damaged one at a time; a cell is trained on each."""

import itertools
import json
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from answers import Answer, Attack, call, judge
from PIL import Image

SUFFIXES = (".png", ".jpg", ".webp", ".bmp")
SIZES = {"train800": 24, "val200": 6, "test": 12}
RUN = ["dataset=folder", "backbone=vit_nano", "method=linear", "trainer=cpu", "logger=none", "recipe.epochs=1"]
RUN += ["trainer.threads=1", "recipe.batch_size=8", "data.root=pack", "data.cache=cache", "results.root=results"]
FIRST = "images/test/000000"

Damage = Callable[[Path, random.Random], Any]


def make_pack(root: Path, suffix: str) -> Path:
    """Three classes of noise around a colour; smooth enough for JPEG."""
    rng = np.random.default_rng(0)
    for split, count in SIZES.items():
        (root / "images" / split).mkdir(parents=True)
        lines = []
        for index in range(count):
            name = f"images/{split}/{index:06d}{suffix}"
            low = rng.integers(0, 120, (8, 8, 3)) + 100 * np.eye(3, dtype=int)[index % 3]
            image = Image.fromarray(low.clip(0, 255).astype(np.uint8)).resize((40, 40))
            image.save(root / name, lossless=True) if suffix == ".webp" else image.save(root / name)
            lines.append(f"{name} {index % 3}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return root


def _image(pack: Path) -> Path:
    return next(iter(pack.glob(f"{FIRST}.*")))


def _bytes(edit: Callable[[bytes, random.Random], bytes]) -> Damage:
    def damage(pack: Path, rng: random.Random) -> None:
        path = _image(pack)
        path.write_bytes(edit(path.read_bytes(), rng))

    return damage


def _lines(edit: Callable[[list[str]], list[str]], split: str = "test") -> Damage:
    def damage(pack: Path, rng: random.Random) -> None:
        path = pack / f"{split}.txt"
        path.write_text("".join(edit(path.read_text().splitlines(keepends=True))), encoding="utf-8", newline="")

    return damage


def _first(line: str) -> Damage:
    """The first line of test.txt as another one; {} is the image."""
    return _lines(lambda lines: [line.replace("{}", lines[0].split()[0]), *lines[1:]])


def _without(label: int, split: str) -> Damage:
    return _lines(lambda lines: [line for line in lines if not line.endswith(f" {label}\n")], split)


def _replaced(make: Callable[[Path], Any]) -> Damage:
    def damage(pack: Path, rng: random.Random) -> None:
        path = _image(pack)
        path.unlink()
        make(path)

    return damage


def _file(name: str, content: bytes) -> Damage:
    return lambda pack, rng: (pack / name).write_bytes(content)


def _png(width: int, height: int, depth: int = 8) -> bytes:
    """A PNG that declares a size and has a row or two of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 300)) + chunk(b"IEND", b"")
    )


def _zeros(content: bytes, rng: random.Random, share: float) -> bytes:
    at = int(len(content) * share)
    return content[:at] + bytes(len(content) - at)


def _flipped(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n"

# must be refused, or train the same model on the same images
DAMAGES: dict[str, Damage] = {
    **{f"cut at {s}": _bytes(lambda c, r, s=s: c[: int(len(c) * s)]) for s in (0.3, 0.6, 0.9)},
    **{f"zeros from {s}": _bytes(lambda c, r, s=s: _zeros(c, r, s)) for s in (0.2, 0.5, 0.8)},
    **{
        f"image is {n}": _bytes(lambda c, r, v=v: v)
        for n, v in {"empty": b"", "EPS": EPS, "PDF": b"%PDF-1.4\n"}.items()
    },
    **{f"image is {n}": _bytes(lambda c, r, v=v: v) for n, v in {"text": b"hello", "0 px": _png(0, 40)}.items()},
    "image is 2**31 px": _bytes(lambda c, r: _png(2**31 - 1, 2**31 - 1)),
    "image is 20,000 px and ends early": _bytes(lambda c, r: _png(20_000, 20_000)),
    "image is a folder": _replaced(lambda path: path.mkdir()),
    "image is a FIFO": _replaced(lambda path: os.mkfifo(path)),
    "image is /dev/zero": _replaced(lambda path: path.symlink_to("/dev/zero")),
    "image links to itself": _replaced(lambda path: path.symlink_to(path)),
    "image links to nothing": _replaced(lambda path: path.symlink_to("nothing")),
    "image with junk after its end": _bytes(lambda c, r: c + b"junk" * 9),
    **{
        f"line {line!r}": _first(line)
        for line in ("{} -1\n", "{} 300000000\n", "{} x\n", "{}\n", "{} 1.0\n", "{} 0x1\n")
    },
    **{
        f"line {line!r}": _first(line)
        for line in ("{} \u0661\n", "{} 1_0\n", "{} +0\n", "{} 1e0\n", "0\n", "{}\x00 0\n")
    },
    **{
        f"line {line!r}": _first(line)
        for line in ("../../etc/passwd 0\n", "/etc/passwd 0\n", "images 0\n", "./{} 0\n", "{}/ 0\n")
    },
    **{
        f"line {line!r}": _first(line)
        for line in ("{} 0 0\n", "{}\t0\n", "{} 0\r\n", "{} 0 \n", "\ufeff{} 0\n", "{} 0\u2028")
    },
    "a line twice": _lines(lambda lines: [lines[0], *lines]),
    "a test image in train800": _lines(lambda lines: [*lines, f"{FIRST}.png 0\n", f"{FIRST}.jpg 0\n"], "train800"),
    "no training image of class 2": lambda pack, rng: [
        _without(2, split)(pack, rng) for split in ("train800", "val200")
    ],
    "blank lines": _lines(lambda lines: ["\n", *lines, " \n"]),
    "train800 empty": _lines(lambda lines: [], "train800"),
    "test empty": _lines(lambda lines: ["\n"]),
    "a line of a million letters": _first("a" * 1_000_000 + " 0\n"),
    "list not UTF-8": _file("val200.txt", b"images/\xff.png 0\n"),
    "list UTF-16": _file("val200.txt", "images/val200/000000.png 0\n".encode("utf-16")),
    "classes.txt of two": _file("classes.txt", b"a\nb\n"),
    "classes.txt of four": _file("classes.txt", b"a\nb\nc\nd\n"),
    "classes.txt twice the same": _file("classes.txt", b"a\na\nb\n"),
    "classes.txt with a gap": _file("classes.txt", b"a\n\nc\n"),
    "classes.txt of zeros": _file("classes.txt", bytes(30)),
    "a file that no list names": _file("images/test/extra.png", b"junk"),
}


def _in_cache(edit: Callable[[Path, random.Random], Any]) -> Damage:
    """To a file of the cache, once the pack has been prepared."""

    def damage(folder: Path, rng: random.Random) -> None:
        files = sorted(path for path in (folder / "cache").rglob("*") if path.is_file() and path.stat().st_size)
        edit(rng.choice(files), rng)

    return damage


def _rewrite(edit: Callable[[bytes, random.Random], bytes]) -> Damage:
    """Other bytes with the same time."""

    def damage(path: Path, rng: random.Random) -> None:
        time = path.stat().st_mtime_ns
        path.write_bytes(edit(path.read_bytes(), rng))
        os.utime(path, ns=(time, time))

    return damage


# to a prepared task; must be noticed, or give what a fresh cache gives
STALE: dict[str, Damage] = {
    "a bit of a cached file": _in_cache(_rewrite(_flipped)),
    "a cached file cut": _in_cache(_rewrite(lambda c, r: c[: r.randrange(len(c) or 1)])),
    "a cached file of zeros": _in_cache(_rewrite(lambda c, r: bytes(len(c)))),
    "a cached file gone": _in_cache(lambda path, rng: path.unlink()),
    "a cached file is a folder": _in_cache(lambda path, rng: (path.unlink(), path.mkdir())),
    "a cached file is nested JSON": _in_cache(lambda path, rng: path.write_bytes(b"[" * 100_000)),
    "two test images swapped": lambda folder, rng: _swap(folder / "pack", 0, 1),
    "two labels swapped": lambda folder, rng: _rewrite(
        lambda c, r: c.replace(b" 1\n", b" x\n", 1).replace(b" 2\n", b" 1\n", 1).replace(b" x\n", b" 2\n", 1)
    )(folder / "pack/train800.txt", rng),
    "another image under the same size and time": lambda folder, rng: _rewrite(_other_pixels)(
        _image(folder / "pack"), rng
    ),
}


def _swap(pack: Path, one: int, two: int) -> None:
    paths = [sorted((pack / "images/train800").iterdir())[index] for index in (one, two)]
    contents = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    for path, (content, time) in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(time, time))


def _other_pixels(content: bytes, rng: random.Random) -> bytes:
    """A BMP with other pixels (its sizes are always equal); other formats keep theirs."""
    return content[:60] + bytes(255 - byte for byte in content[60:]) if content[:2] == b"BM" else content


def attacks(rng: random.Random, base: Path) -> Iterator[Attack]:
    packs, references = {}, {}
    for suffix in SUFFIXES:
        folder = base / f"good{suffix}"
        packs[suffix] = make_pack(folder / "pack", suffix)
        ended = call(RUN, folder)
        assert ended.code == 0, ended.err
        references[suffix] = result(folder)
    cases = [("pack", name, damage) for name, damage in DAMAGES.items()]
    cases += [("cache", name, damage) for name, damage in STALE.items()] * 3
    numbers = itertools.count()
    while True:
        for kind, name, damage in rng.sample(cases, len(cases)):
            suffix, folder = rng.choice(SUFFIXES), base / str(next(numbers))
            shutil.copytree(base / f"good{suffix}" / "pack", folder / "pack")
            if kind == "cache":
                call([*RUN, "seed=9"], folder)
                damage(folder, rng)
            else:
                damage(folder / "pack", rng)
            expected = references[suffix] if kind == "pack" else None
            yield Attack(f"{suffix} {name}", lambda f=folder, e=expected: _answer(f, e))


def result(folder: Path) -> Any:
    """What a run in a folder measured, and on which images; not seed 9, with which the cache was made."""
    (path,) = (folder / "results/records").rglob("seed0-*.json")
    record = json.loads(path.read_text())
    return record["metrics"], record["curves"]["train_loss"], record["data"]["fingerprint"]


def _answer(folder: Path, expected: Any) -> Answer:
    ended = call(RUN, folder)

    def wrong() -> str:
        reference = expected
        if reference is None:  # what a fresh cache gives
            fresh = folder.with_name(f"{folder.name}.fresh")
            shutil.copytree(folder / "pack", fresh / "pack")
            call(RUN, fresh)
            reference = result(fresh)
        return "" if result(folder) == reference else f"{result(folder)[0]} instead of {reference[0]}"

    return judge(ended, wrong, lines=3)
