"""Which examples the official VTAB-1k splits hold: TFDS's order of a split, and lists made from it without the images.

TFDS sorts the examples of a split by md5(split name + key), a key being an index or a file name that the builder
chooses; a slice such as train[:800] counts in this order. Where the keys are known without the data, so are the
members of every slice. `lists/<builder>.txt.gz` holds them for the builders in `LISTS`, written by
`tools/make_official_lists.py`:

    # ...                         what it is, the rule of the keys, what is assumed
    # sha256 train800 <hex>       `digest` of each block
    [train800] 800                then 800 keys, one a line; and so val200 and test

Source: tensorflow_datasets 4.9.10, core/hashing.py, core/shuffle.py, core/writer.py and core/split_builder.py.
docs/splits.md tells what the lists prove, and why the other builders have none.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.errors import UserError

LISTS = (
    "cifar100",
    "clevr",
    "dsprites",
    "eurosat",
    "patch_camelyon",
    "resisc45",
    "smallnorb",
    "sun397",
    "svhn_cropped",
)
FOLDER = Path(__file__).with_name("lists")

_Key = TypeVar("_Key", str, int)


def tfds_order(split: str, keys: Iterable[_Key]) -> list[_Key]:
    r"""The keys of a split in the order in which TFDS stores its examples, and counts them in slices.

    Ascending md5(split + key), both UTF-8, read as a 128-bit number; an integer enters as its decimal digits and a
    backslash as a slash, so that 7 and "7", or "a\b" and "a/b", are the same key. Raises `ValueError` for keys that
    collide, of which TFDS makes no data set either.
    """
    salted = hashlib.md5(split.encode(), usedforsecurity=False)
    hashed: dict[bytes, _Key] = {}
    for key in keys:
        md5 = salted.copy()
        md5.update(str(key).replace("\\", "/").encode())
        value = md5.digest()
        if value in hashed:
            raise ValueError(f"two examples of the split {split!r} have one key: {hashed[value]!r} and {key!r}")
        hashed[value] = key
    return [key for _, key in sorted(hashed.items())]


def digest(ids: Sequence[str]) -> str:
    """SHA-256, in hex, of the ids with line feeds between them: names a list of examples in its order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def example_ids(task: Task) -> dict[str, tuple[str, ...]] | None:
    """The keys of each split in `SPLITS` as TFDS yields them; None where there is no list (see `LISTS`).

    Raises `UserError` where the packaged list is missing or damaged.
    """
    name = re.split("[:/]", task.builder or "")[0]
    return read_list(FOLDER / f"{name}.txt.gz") if name in LISTS else None


def read_list(path: Path) -> dict[str, tuple[str, ...]]:
    """The three blocks of one list, checked against the SHA-256 in its header; raises `UserError`."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    except FileNotFoundError:
        raise _broken(path, "is missing") from None
    except (OSError, EOFError, ValueError, zlib.error):  # not gzip, unreadable, truncated, not UTF-8, altered
        raise _broken(path, "cannot be read") from None
    header = [line for line in lines if line.startswith("#")]
    promised = dict(line.split()[2:4] for line in header if re.fullmatch(r"# sha256 \w+ [0-9a-f]{64}", line))
    blocks, rest = {}, lines[len(header) :]
    for split in SPLITS:
        title = re.fullmatch(rf"\[{split}\] ([0-9]+)", rest[0]) if rest else None
        if title is None:
            raise _broken(path, f"lacks the block {split}")
        count = int(title[1])
        blocks[split], rest = tuple(rest[1 : 1 + count]), rest[1 + count :]
        if len(blocks[split]) != count or digest(blocks[split]) != promised.get(split):
            raise _broken(path, f"is corrupt (the SHA-256 of {split} does not match)")
    if rest:
        raise _broken(path, f"goes on after the block {SPLITS[-1]}")
    return blocks


def _broken(path: Path, what: str) -> UserError:
    return UserError(f"the packaged list {path} {what}; reinstall aoft_bench")
