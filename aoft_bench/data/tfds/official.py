"""Which examples the official VTAB-1k splits contain: TFDS's order of a split, lists made from it, and comparison.

TFDS sorts the examples of a split by md5(split name + key); the key is an index or a file name that the builder
chooses. A slice such as train[:800] counts in this order. Where the keys are known without the data, so are the
members of every slice. `lists/<builder>.txt.gz` contains them for the builders in `LISTS`, written by
`tools/make_official_lists.py`:

    # ...                         what it is, the rule of the keys, what is assumed
    # sha256 train800 <hex>       `digest` of each block
    [train800] 800                then 800 keys, one a line; val200 and test follow

Source: tensorflow_datasets 4.9.10, core/hashing.py, core/shuffle.py, core/writer.py and core/split_builder.py.
docs/splits.md explains what the lists prove, and why the other builders have none.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.errors import UserError

if TYPE_CHECKING:
    from aoft_bench.data.manifest import Manifest

FOLDER = Path(__file__).with_name("lists")

_Key = TypeVar("_Key", str, int)


def _without_folder(split: str, key: str) -> str:
    """`river_7.jpg` of the key `river_river_7.jpg`: folder, `_`, file name; the file name begins with the folder."""
    twice, _, number = key.rpartition("_")
    return f"{twice[len(twice) // 2 + 1 :]}_{number}"


# The builders with lists, and the `id`, `file_name` or `filename` that each writes into the example of (split, key),
# of TFDS's split. From their _generate_examples, tensorflow_datasets 4.9.10; older versions of some write none.
ID_OF_KEY: Mapping[str, Callable[[str, str], str]] = MappingProxyType(
    {
        "cifar100": lambda split, key: f"{split}_{int(key):05d}",
        "clevr": lambda split, key: key,
        "dsprites": lambda split, key: f"{int(key):06d}",  # since 2.1.0
        "eurosat": _without_folder,
        "patch_camelyon": lambda split, key: key,
        "resisc45": _without_folder,
        "smallnorb": lambda split, key: f"{split}_{int(key):05d}",  # since 2.1.0
        "sun397": lambda split, key: key,
        "svhn_cropped": lambda split, key: f"{split}_{int(key):06d}",  # since 3.1.0
    }
)
LISTS = tuple(ID_OF_KEY)


def tfds_order(split: str, keys: Iterable[_Key]) -> list[_Key]:
    r"""The keys of a split in the order in which TFDS stores its examples and counts them in slices.

    Ascending md5(split + key), both UTF-8, as a 128-bit number. An integer is written in decimal digits and a backslash
    as a slash, so 7 and "7", or "a\b" and "a/b", are the same key. Raises `ValueError` for keys that collide, which
    TFDS refuses too.
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
    """SHA-256, in hex, of the ids with line feeds between them: identifies a list of examples in its order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def example_ids(task: Task) -> dict[str, tuple[str, ...]] | None:
    """The keys of each split in `SPLITS` as TFDS yields them; None where there is no list (see `LISTS`).

    Raises `UserError` where the packaged list is missing or damaged.
    """
    name = re.split("[:/]", task.builder or "")[0]
    listed = name in LISTS and task.suite == "vtab1k"  # the lists are of 1,000 training images
    return read_list(FOLDER / f"{name}.txt.gz") if listed else None


def read_list(path: Path) -> dict[str, tuple[str, ...]]:
    """The three blocks of one list, checked against the SHA-256 in its header; raises `UserError`."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    except FileNotFoundError:
        raise _broken(path, "is missing") from None
    except (OSError, EOFError, ValueError, zlib.error):  # not gzip, unreadable, truncated, not UTF-8
        raise _broken(path, "cannot be read") from None
    header = [line for line in lines if line.startswith("#")]
    checksums = dict(line.split()[2:4] for line in header if re.fullmatch(r"# sha256 \w+ [0-9a-f]{64}", line))
    blocks, rest = {}, lines[len(header) :]
    for split in SPLITS:
        title = re.fullmatch(rf"\[{split}\] ([0-9]+)", rest[0]) if rest else None
        if title is None:
            raise _broken(path, f"lacks the block {split}")
        count = int(title[1])
        blocks[split], rest = tuple(rest[1 : 1 + count]), rest[1 + count :]
        if len(blocks[split]) != count or digest(blocks[split]) != checksums.get(split):
            raise _broken(path, f"is corrupt (the SHA-256 of {split} does not match)")
    if rest:
        raise _broken(path, f"goes on after the block {SPLITS[-1]}")
    return blocks


def official_ids(task: Task) -> dict[str, tuple[str, ...]] | None:
    """The ids of the official examples of each split, in order, as they stand in the examples; None without a list.

    These are the keys of `example_ids`, written by `ID_OF_KEY`: eurosat's and resisc45's lack the folder, which is the
    class.
    """
    keys = example_ids(task)
    if keys is None:
        return None
    assert task.builder is not None and task.slices is not None
    builder = re.split("[:/]", task.builder)[0]
    splits = {split: re.split(r"\W", task.slices[split])[0] for split in SPLITS}
    return {split: tuple(ID_OF_KEY[builder](splits[split], key) for key in keys[split]) for split in SPLITS}


def differences(task: Task, manifest: "Manifest") -> list[str] | None:
    """How the ids of a manifest differ from the official examples in the official order, a text for each split.

    Empty where every split is right. None where there is no official list, or no image has an id: folder packs have
    none, nor have versions 2.0.0 of smallnorb and dsprites and 3.0.0 of svhn_cropped.
    """
    wanted = official_ids(task)
    if wanted is None or not any(row.id for rows in manifest.values() for row in rows):
        return None
    texts = (_difference(split, wanted[split], [row.id for row in manifest.get(split, ())]) for split in SPLITS)
    return [text for text in texts if text]


def _difference(split: str, wanted: Sequence[str], got: Sequence[str]) -> str:
    if len(got) != len(wanted):
        return f"{split} has {len(got):,} examples instead of {len(wanted):,}"
    positions = [index for index, (mine, official) in enumerate(zip(got, wanted, strict=True)) if mine != official]
    if not positions:
        return ""
    first = positions[0]
    return (
        f"{len(positions):,} of {len(wanted):,} ids of {split} differ, the first at position {first}: {got[first]!r} "
        f"instead of {wanted[first]!r}"
    )


def _broken(path: Path, what: str) -> UserError:
    return UserError(f"the packaged list {path} {what}; reinstall aoft_bench")
