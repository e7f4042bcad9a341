"""The differences between two caches: images that only one has, labels, pixels, order."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aoft_bench.data.manifest import ManifestRow
from aoft_bench.data.prepared_task import PreparedTask
from aoft_bench.utils.text import csv_cell

# grey levels. JPEG copies of quality 50 to 95 have a median error of 1 to 8 (eurosat, cifar100), the worst images up to
# 16; other images of the same class a median of 29 and 64
_COPIES = 12.0
_STRAY = 20.0
_CSV_COLUMNS = ("split", "index_a", "index_b", "label_a", "label_b", "id", "mean_absolute_error")


class Pair(NamedTuple):
    """An image of A and one of B that are equal or may be copies of each other: positions, labels, id ("" if neither
    has one), and the mean of |A - B| over the pixels in grey levels, None where the sizes differ."""

    a: int
    b: int
    label_a: int
    label_b: int
    id: str
    error: float | None


@dataclass(frozen=True)
class SplitComparison:
    """One split of A and B.

    shared: pairs with equal digests; each image is in one pair at most. matched: pairs of the other images, by
    `matched_by`: "id" if every image has one, else "position", where the labels are equal too. moved_labels: the number
    of positions at which the labels differ. same: whether images, labels and order are equal.
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
class CacheComparison:
    """All splits that both have.

    overlaps: (split of A, another split of B) to the number of images in both, where there are any. pixels: why pixels
    were not compared, "" if they were.
    """

    splits: tuple[SplitComparison, ...]
    overlaps: Mapping[tuple[str, str], int]
    pixels: str

    @property
    def same(self) -> bool:
        return all(one.same for one in self.splits)


def compare(a: PreparedTask, b: PreparedTask) -> CacheComparison:
    """Compare two caches by the digests of the native images and, if both are cached at one size, by pixels.

    Raises `UserError` for a damaged cache.
    """
    rows_a, rows_b = a.read_manifest(), b.read_manifest()
    pixels = _why_no_pixels(a, b)
    common = [split for split in rows_a if split in rows_b]
    splits = tuple(_compare_split(a, b, split, rows_a[split], rows_b[split], not pixels) for split in common)
    digests = {split: {row.digest for row in rows_b[split]} for split in common}
    overlaps = {
        (of_a, of_b): count
        for of_b in common
        for of_a in common
        if of_a != of_b and (count := sum(row.digest in digests[of_b] for row in rows_a[of_a]))
    }
    return CacheComparison(splits, overlaps, pixels)


def _why_no_pixels(a: PreparedTask, b: PreparedTask) -> str:
    """Grey images can be compared with colour ones; images resized differently cannot."""
    if (a.shape and a.shape[:2], a.squashed_by) == (b.shape and b.shape[:2], b.squashed_by):
        return ""
    sizes = f"A: {a.size_text}; B: {b.size_text}"
    return f"cached at different sizes ({sizes}): compared by the digests of the native images only"


def _compare_split(
    a: PreparedTask,
    b: PreparedTask,
    split: str,
    rows_a: Sequence[ManifestRow],
    rows_b: Sequence[ManifestRow],
    pixels: bool,
) -> SplitComparison:
    left = _Unpaired(rows_a, rows_b)
    shared = [
        *left.match(lambda index, row: (index, row.digest, row.label)),
        *left.match(lambda index, row: (row.digest, row.label)),
        *left.match(lambda index, row: row.digest),
    ]
    by_id = all(row.id for row in (*rows_a, *rows_b))
    matched = left.match(lambda index, row: row.id) if by_id else left.match(lambda index, row: (index, row.label))
    errors: list[float | None] = [None] * len(matched)
    if pixels and matched:
        images_a, images_b = a.read(split).images, b.read(split).images
        errors = [_error(images_a[of_a], images_b[of_b]) for of_a, of_b in matched]

    def pair(positions: tuple[int, int], error: float | None) -> Pair:
        row_a, row_b = rows_a[positions[0]], rows_b[positions[1]]
        return Pair(*positions, row_a.label, row_b.label, row_a.id or row_b.id, error)

    return SplitComparison(
        split=split,
        counts=(len(rows_a), len(rows_b)),
        shared=tuple(pair(positions, 0.0) for positions in sorted(shared)),
        matched=tuple(pair(positions, error) for positions, error in zip(matched, errors, strict=True)),
        matched_by="id" if by_id else "position",
        moved_labels=sum(row_a.label != row_b.label for row_a, row_b in zip(rows_a, rows_b, strict=False)),
        same=[(row.label, row.digest) for row in rows_a] == [(row.label, row.digest) for row in rows_b],
    )


class _Unpaired:
    """The images of A and B that are in no pair yet."""

    def __init__(self, rows_a: Sequence[ManifestRow], rows_b: Sequence[ManifestRow]) -> None:
        self.a, self.b = dict(enumerate(rows_a)), dict(enumerate(rows_b))

    def match(self, key: Callable[[int, ManifestRow], Hashable]) -> list[tuple[int, int]]:
        """Remove pairs of equal keys, in the order of A, and return their positions."""
        waiting: defaultdict[Hashable, list[int]] = defaultdict(list)
        for index in reversed(self.b):
            waiting[key(index, self.b[index])].append(index)
        pairs = [
            (index, positions.pop()) for index, row in self.a.items() if (positions := waiting.get(key(index, row)))
        ]
        for of_a, of_b in pairs:
            del self.a[of_a], self.b[of_b]
        return pairs


def _error(image_a: np.ndarray, image_b: np.ndarray) -> float | None:
    """Mean absolute error; a grey image counts as the colour image of equal channels."""
    if image_a.shape[:2] != image_b.shape[:2]:
        return None
    return float(np.abs(image_a.astype(np.int16) - image_b.astype(np.int16)).mean())


def describe(found: CacheComparison) -> list[str]:
    """The comparison as lines of text."""
    lines = [found.pixels] if found.pixels else []
    for one in found.splits:
        lines += _describe_split(one)
    for (of_a, of_b), count in found.overlaps.items():
        lines.append(f"overlap: {count:,} images of {of_a} of A are in {of_b} of B")
    same = "A and B hold the same images in the same order with the same labels"
    return [*lines, same if found.same else "A and B differ"]


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
    """The errors of the matched pairs, and what they suggest."""
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


def csv_text(found: CacheComparison) -> str:
    """A line for each pair, shared ones first in each split; the error is empty where pixels were not compared."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for one in found.splits:
        for pair in (*one.shared, *one.matched):
            error = "" if pair.error is None else f"{pair.error:.4f}"
            writer.writerow([one.split, *map(csv_cell, pair[:-1]), error])
    return out.getvalue()
