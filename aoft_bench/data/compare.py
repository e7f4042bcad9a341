"""What differs between two caches: images that only one holds, other labels, other pixels, another order."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aoft_bench.data import cache as store
from aoft_bench.data.image_list import ImageList
from aoft_bench.data.manifest import Manifest, Row
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.errors import UserError

if TYPE_CHECKING:
    from aoft_bench.cli.data_commands import ChosenTask

SOURCE_WORDS = ("tfds", "folder")

# grey levels. JPEG copies of quality 50 to 95 have a median error of 1 to 8 (eurosat, cifar100) and single ones up to
# 16; other images of the same class a median of 29 and 64
_COPIES = 12.0
_STRAY = 20.0
_CSV_COLUMNS = ("split", "index_a", "index_b", "label_a", "label_b", "id", "mean_absolute_error")

_Images = np.ndarray | ImageList


@dataclass(frozen=True)
class Side:
    """One of the two caches: its folder and its meta.json."""

    directory: Path
    meta: Mapping[str, Any]

    @property
    def size(self) -> str:
        """Of the cached images, to read."""
        shape, squashed = self.meta["shape"], self.meta["squashed_by"]
        if not shape:
            return f"short side resized by {squashed}"
        return " x ".join(map(str, shape)) + (f", squashed by {squashed}" if squashed else ", native")

    def manifest(self) -> Manifest:
        """Which images it holds; raises `UserError` for a damaged manifest."""
        return store.read_manifest(self.directory, self.meta)


def cached_side(text: str, task: Task | None) -> Side | None:
    """A cache directory, opened; None for what has to be prepared first: a source's name, or a folder of images.

    Raises `UserError` for a folder that does not exist, a damaged cache, and one of another task than `task`.
    """
    if text in SOURCE_WORDS:
        return None
    directory = Path(text).expanduser().resolve()
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        raise UserError(
            f"{text} {what}; give a cache directory (aoft-bench doctor shows them), a pack's folder, or "
            f"{' or '.join(SOURCE_WORDS)}"
        )
    if not any((directory / name).exists() for name in ("meta.json", f"{SPLITS[0]}.npy")):
        inside = sorted(str(path.parent) for path in directory.glob("*/meta.json"))
        if inside:
            raise UserError(f"{text} is no cache directory, but holds some; give one: {', '.join(inside)}")
        return None
    name = _task_of(directory)
    if task is not None and name != task.name:
        raise UserError(f"{text} is a cache of {name}, not of {task.name}; leave dataset= out, or give dataset={name}")
    return Side(directory, store.read_meta(directory, name))


def _task_of(directory: Path) -> str:
    """The task that meta.json names; of a damaged one, which `read_meta` will refuse, that of the folder above."""
    try:
        return str(json.loads((directory / "meta.json").read_text(encoding="utf-8"))["task"])
    except (OSError, ValueError, KeyError, TypeError):
        return directory.parent.name


def prepared_side(text: str, chosen: "ChosenTask", other: Side | None) -> Side:
    """A source's name, or a folder of images, prepared into the cache; at the size of `other`, for the pixels' sake.

    Raises `UserError` as `prepare` does, and for an embedded task, which has one source only.
    """
    from aoft_bench.data.prepared_task import prepare

    if chosen.task.suite == "embedded":
        raise UserError(f"{chosen.task.name} is generated and has no folder or TFDS source; give cache directories")
    root = {"tfds": None, "folder": chosen.locations.root}.get(text, Path(text))
    locations = replace(chosen.locations, source="tfds" if text == "tfds" else "folder", root=root)
    size, interpolation = chosen.image_size, chosen.interpolation
    if other and other.meta["shape"]:
        sides, squashed_by = other.meta["shape"][:2], other.meta["squashed_by"]
        size = max(sides) if squashed_by else max(size, *sides)
        interpolation = squashed_by or interpolation
    ready = prepare(chosen.task, locations, image_size=size, interpolation=interpolation)
    return Side(ready.directory, ready.meta)


class Pair(NamedTuple):
    """Two images that are the same, or are taken to be two copies of the same: positions in A and B, labels, id ("" if
    neither has one), and mean |A - B| over the pixels in grey levels, None where the sizes differ."""

    a: int
    b: int
    label_a: int
    label_b: int
    id: str
    error: float | None


@dataclass(frozen=True)
class SplitComparison:
    """One split of both.

    `shared` are pairs of equal content (digest), each image in at most one; `matched` those made of the rest by
    `matched_by`, "id" where every image of both has one, else "position" (where the labels agree too). `moved_labels`
    counts the positions at which the labels differ. `same`: equal contents and labels in equal order.
    """

    split: str
    counts: tuple[int, int]
    shared: tuple[Pair, ...]
    matched: tuple[Pair, ...]
    matched_by: str
    moved_labels: int
    same: bool

    @property
    def relabelled(self) -> int:
        """Images in both whose labels differ."""
        return sum(pair.label_a != pair.label_b for pair in self.shared)

    @property
    def errors(self) -> np.ndarray:
        """(M,) float64 mean absolute errors of the matched pairs whose pixels could be compared."""
        return np.array([pair.error for pair in self.matched if pair.error is not None], np.float64)


@dataclass(frozen=True)
class Comparison:
    """All splits; `overlaps[of_a, of_b]` counts images of a split of A that are in another split of B, where there are
    any; `pixels` is "" where pixels were compared, else why not."""

    splits: tuple[SplitComparison, ...]
    overlaps: Mapping[tuple[str, str], int]
    pixels: str

    @property
    def same(self) -> bool:
        return all(one.same for one in self.splits)


def compare(a: Side, b: Side) -> Comparison:
    """Compare two caches split by split, by the digests of the native images and, where both are cached alike, pixels.

    Raises `UserError` for a damaged cache.
    """
    rows_a, rows_b = a.manifest(), b.manifest()
    pixels = _why_no_pixels(a, b)
    splits = tuple(_compare_split(a, b, split, rows_a[split], rows_b[split], not pixels) for split in SPLITS)
    return Comparison(splits, dict(_overlaps(rows_a, rows_b)), pixels)


def _why_no_pixels(a: Side, b: Side) -> str:
    """Grey and colour can be compared; other sizes, or other ways to the same size, cannot."""
    if [a.meta["shape"] and a.meta["shape"][:2], a.meta["squashed_by"]] == [
        b.meta["shape"] and b.meta["shape"][:2],
        b.meta["squashed_by"],
    ]:
        return ""
    return f"cached at different sizes (A: {a.size}; B: {b.size}): compared by the digests of the native images only"


def _overlaps(rows_a: Manifest, rows_b: Manifest) -> Iterator[tuple[tuple[str, str], int]]:
    for of_b in SPLITS:
        there = {row.digest for row in rows_b[of_b]}
        for of_a in SPLITS:
            count = sum(row.digest in there for row in rows_a[of_a])
            if of_a != of_b and count:
                yield (of_a, of_b), count


def _compare_split(
    a: Side, b: Side, split: str, rows_a: Sequence[Row], rows_b: Sequence[Row], pixels: bool
) -> SplitComparison:
    left = _Left(rows_a, rows_b)
    shared = [
        *left.match(lambda index, row: (index, row.digest, row.label)),
        *left.match(lambda index, row: (row.digest, row.label)),
        *left.match(lambda index, row: row.digest),
    ]
    by_id = all(row.id for row in (*rows_a, *rows_b))
    matched = left.match(lambda index, row: row.id) if by_id else left.match(lambda index, row: (index, row.label))
    errors = _errors(a, b, split, matched) if pixels and matched else [None] * len(matched)

    def pair(positions: tuple[int, int], error: float | None) -> Pair:
        mine, theirs = rows_a[positions[0]], rows_b[positions[1]]
        return Pair(*positions, mine.label, theirs.label, mine.id or theirs.id, error)

    return SplitComparison(
        split=split,
        counts=(len(rows_a), len(rows_b)),
        shared=tuple(pair(positions, 0.0) for positions in sorted(shared)),
        matched=tuple(pair(positions, error) for positions, error in zip(matched, errors, strict=True)),
        matched_by="id" if by_id else "position",
        moved_labels=sum(mine.label != theirs.label for mine, theirs in zip(rows_a, rows_b, strict=False)),
        same=[row[::2] for row in rows_a] == [row[::2] for row in rows_b],  # label and digest
    )


class _Left:
    """The images of A and B that are in no pair yet."""

    def __init__(self, rows_a: Sequence[Row], rows_b: Sequence[Row]) -> None:
        self.a, self.b = dict(enumerate(rows_a)), dict(enumerate(rows_b))

    def match(self, key: Callable[[int, Row], Hashable]) -> list[tuple[int, int]]:
        """Take out pairs of equal keys, in order of place, and return them."""
        waiting: defaultdict[Hashable, list[int]] = defaultdict(list)
        for index in reversed(self.b):
            waiting[key(index, self.b[index])].append(index)
        pairs = [
            (index, positions.pop()) for index, row in self.a.items() if (positions := waiting.get(key(index, row)))
        ]
        for of_a, of_b in pairs:
            del self.a[of_a], self.b[of_b]
        return pairs


def _errors(a: Side, b: Side, split: str, pairs: Sequence[tuple[int, int]]) -> list[float | None]:
    images_a, _ = store.read_split(a.directory, a.meta, split)
    images_b, _ = store.read_split(b.directory, b.meta, split)
    return [_error(images_a, of_a, images_b, of_b) for of_a, of_b in pairs]


def _error(images_a: _Images, of_a: int, images_b: _Images, of_b: int) -> float | None:
    """Mean absolute error; a grey image counts as the colour image of equal channels."""
    mine, theirs = images_a[of_a].astype(np.int16), images_b[of_b].astype(np.int16)
    return float(np.abs(mine - theirs).mean()) if mine.shape[:2] == theirs.shape[:2] else None


def describe(found: Comparison) -> list[str]:
    """The comparison in lines."""
    lines = [found.pixels] if found.pixels else []
    for one in found.splits:
        lines += _describe_split(one)
    lines += [
        f"overlap: {count:,} images of {of_a} of A are in {of_b} of B" for (of_a, of_b), count in found.overlaps.items()
    ]
    if found.same:
        return [*lines, "A and B hold the same images in the same order with the same labels"]
    return [*lines, "A and B differ"]


def _describe_split(one: SplitComparison) -> list[str]:
    a, b = one.counts
    shared = len(one.shared)
    if one.same:
        return [f"{one.split}: the same {a:,} images in the same order with the same labels"]
    labels = f", {one.relabelled:,} of them with another label" if shared else ""
    lines = [
        f"{one.split}: {a:,} images in A, {b:,} in B; {shared:,} in both{labels}; {a - shared:,} only in A, "
        f"{b - shared:,} only in B; labels differ at {one.moved_labels:,} positions"
    ]
    if shared == a == b and not one.relabelled:
        lines.append("  the same images and labels in another order")
    if one.matched:
        how = "id" if one.matched_by == "id" else "position and label"
        lines.append(f"  of the others {len(one.matched):,} pairs by {how}{_of_errors(one)}")
    return lines


def _of_errors(one: SplitComparison) -> str:
    """The errors of the matched pairs, and how they read."""
    errors = one.errors
    if not len(errors):
        return ", their pixels not compared"
    numbers = f"mean {errors.mean():.2f}, median {np.median(errors):.2f}, largest {errors.max():.2f}"
    near, stray = int((errors < _COPIES).sum()), int((errors > _STRAY).sum())
    if not errors.any():
        reading = "equal as they are cached"
    elif np.median(errors) < _COPIES:
        reading = "small: these read as lossy copies (JPEG, or resized)"
        reading += f"; {stray:,} pairs above {_STRAY:g} may be other images, --csv FILE lists them" if stray else ""
    else:
        reading = f"large: these read as other images, {near:,} pairs below {_COPIES:g} perhaps as copies"
    unequal = len(one.matched) - len(errors)
    skipped = f" ({unequal:,} pairs of unequal size left out)" if unequal else ""
    return f": mean absolute error by image {numbers} grey levels{skipped}; {reading}"


def csv_text(found: Comparison) -> str:
    """A line an image pair, shared ones first in each split; the error is empty where pixels were not compared."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for one in found.splits:
        for pair in (*one.shared, *one.matched):
            error = "" if pair.error is None else f"{pair.error:.4f}"
            writer.writerow([one.split, *pair[:-1], error])
    return out.getvalue()
