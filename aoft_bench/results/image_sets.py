"""Which images a record is of: the part of them that trains, and whether two records are of the same ones."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from aoft_bench.records.schema import Record

SHOTS = "-shot"  # ends the subset of a few images of each class


def subset_of(drawn: Mapping[str, Any]) -> str:
    """Which part of the training images was drawn, in words; empty for all."""
    if shots := drawn.get("shots"):
        return f"{shots}{SHOTS}"
    return f"{drawn['train']:,} training images" if drawn.get("train") else ""


def by_images(records: list[Record]) -> list[list[Record]]:
    """The records in lists of which each has one set of images a dataset, those with the most records first."""
    images = _images_of(records)
    counts = Counter(images)
    numbers: dict[tuple[str, str], int] = {}
    seen: Counter[str] = Counter()
    for dataset, digest in sorted(counts, key=lambda pair: (-counts[pair], pair)):
        numbers[dataset, digest] = seen[dataset]
        seen[dataset] += 1
    lists: list[list[Record]] = [[] for _ in range(max(numbers.values()) + 1)]
    for record, pair in zip(records, images, strict=True):
        lists[numbers[pair]].append(record)
    return lists


def _images_of(records: list[Record]) -> list[tuple[str, str]]:
    """(dataset, digest of its images) of each record, all of one setting.

    Where every seed draws images of its own (data.draw=${seed}), as few-shot studies do, the digest is that of the
    images that all seeds draw from: the mean over seeds is then over draws too.
    """
    drawn = [record["data"].get("drawn") for record in records]
    pools = [(record["dataset"], of["pool"] if of else "") for record, of in zip(records, drawn, strict=True)]
    fixed = {
        pool for pool, of, record in zip(pools, drawn, records, strict=True) if not of or of["seed"] != record["seed"]
    }
    return [
        (record["dataset"], record["data"]["fingerprint"]) if pool in fixed else pool
        for pool, record in zip(pools, records, strict=True)
    ]


def count_of(subset: str) -> int:
    """The number in a subset; 0 for all images."""
    return int("".join(filter(str.isdecimal, subset)) or 0)
