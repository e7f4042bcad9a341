"""What the columns and folders of other people say of images: labels, names of classes, splits."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from aoft_bench.data.sources.listing import Listing, check_name
from aoft_bench.data.tasks import SPLITS
from aoft_bench.utils.errors import UserError, closest
from aoft_bench.utils.text import shown

# what the splits are called in other people's folders, columns and datasets
SPLIT_NAMES = {"train800": ("train", "training"), "val200": ("val", "valid", "validation", "dev"), "test": ("test",)}

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


def split_of(name: str) -> str | None:
    """The split of `SPLITS` that other people's name stands for; None for no split."""
    return next((split for split, names in SPLIT_NAMES.items() if name.strip().lower() in names), None)


def numbered(values: Sequence[object], entry: Callable[[int], str]) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """(labels (N,) int64, names of the classes) of a column of labels.

    Whole numbers, also as text, are the labels. Texts are names of classes: these are sorted, and the labels are their
    positions. entry: where a value stands, for the `UserError` of one that is neither, or missing.
    """
    texts = [value.strip() if isinstance(value, str) else value for value in values]
    whole = [bool(isinstance(v, int) or (isinstance(v, str) and _WHOLE.fullmatch(v))) for v in texts]
    for index, value in enumerate(texts):
        if value is None or value == "":
            raise UserError(f"{entry(index)}: the label is empty; give a whole number or the name of a class")
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise UserError(
                f"{entry(index)}: the label {shown(value)} is no whole number and no text; give one of these"
            )
    if all(whole):
        numbers = [int(value) for value in texts]  # type: ignore[call-overload]
        for index, number in enumerate(numbers):
            if number < 0:
                raise UserError(f"{entry(index)}: the label {number} is negative; labels count from 0")
            if number >= max(len(numbers), 2):
                raise UserError(
                    f"{entry(index)}: the label {number} leaves gaps, there are {len(numbers):,} images; number the "
                    f"classes 0, 1, 2, ..., or give their names"
                )
        return np.array(numbers, np.int64), None
    if any(whole):
        index = whole.index(not whole[0])
        raise UserError(
            f"{entry(index)}: the label {shown(texts[index])} is a {'number' if whole[index] else 'name'}, those "
            f"before it are {'names' if whole[index] else 'numbers'}; give all as numbers or all as names"
        )
    names = sorted({str(value) for value in texts})
    for name in names:
        if problem := check_name(name):
            raise UserError(f"{entry(texts.index(name))}: the name of the class {problem}; give one line of UTF-8")
    position = {name: index for index, name in enumerate(names)}
    return np.array([position[str(value)] for value in texts], np.int64), tuple(names)


def split_listings(
    files: Sequence[str], labels: np.ndarray, entries: Sequence[str], splits: Sequence[str]
) -> dict[str, Listing]:
    """Listings of the splits that occur in `splits`, the split of each image; an order of `SPLITS`."""
    found = {}
    for split in SPLITS:
        which = [index for index, own in enumerate(splits) if own == split]
        if which:
            found[split] = Listing(
                tuple(files[index] for index in which), labels[which], tuple(entries[index] for index in which)
            )
    return found


def no_column(path: object, wanted: str, columns: Sequence[str], remedy: str) -> UserError:
    """The error of a table that lacks a column."""
    nearest = ", ".join(shown(name)[1:-1] for name in closest(wanted, map(str, columns))[:20]) or "none"
    return UserError(f"{path} has no column {wanted!r}; its columns: {nearest}; {remedy}")
