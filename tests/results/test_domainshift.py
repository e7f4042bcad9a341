"""The table of shifts of domain: a column for each further test set, their mean, and published rows below."""

from pathlib import Path
from typing import Any

import pytest
from record_cases import markdown_rows, record

from aoft_bench.data.tasks import SHIFTS
from aoft_bench.records.identity import record_hash
from aoft_bench.records.schema import check_record
from aoft_bench.results.accuracy_table import accuracy_table
from aoft_bench.results.published import beside, load
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.writers.markdown import to_markdown

SIZES = {"test": 10_000, "v2": 100, "sketch": 100, "a": 50, "r": 50}


def shifted(top1: float, method: str, seed: int = 0, **percent: float) -> dict[str, Any]:
    """A record of 16 images of each class. percent: top-1 of the further test sets."""
    shifts = {
        name: {
            "top1": value,
            "correct": round(value * SIZES[name] / 100),
            "correct_of_all": 0,
            "total": SIZES[name],
            "classes": 200,
        }
        for name, value in percent.items()
    }
    drawn = {"rule": 1, "seed": 0, "splits": ["val200"], "pool": "ab12", "shots": 16}
    made = record(
        top1,
        "imagenet",
        method,
        seed,
        metrics__shifts=shifts,
        data__source="imagenet",
        data__official=False,
        data__drawn=drawn,
        data__sizes=SIZES,
        config__data__shots=16,
    )
    return made | {"hash": record_hash(made)}


def test_one_row_has_all_sets_and_their_mean() -> None:
    records = [
        shifted(70.0, "lora", v2=60.0, sketch=20.0, a=10.0, r=30.0),
        shifted(72.0, "lora", seed=1, v2=62.0, sketch=22.0, a=12.0, r=32.0),
        shifted(50.0, "linear", v2=40.0, sketch=10.0, a=4.0),
    ]
    for one in records:
        check_record(one)
    (comparison,) = build_comparisons(records)
    assert comparison.title.startswith("Shifts of domain, 16-shot: ")
    rows = markdown_rows(to_markdown([accuracy_table(comparison)]))
    assert [name.strip("\\*") for name in rows[0][3:]] == ["ImageNet", *SHIFTS.values(), "mean of shifted"]
    numbers = {row[0]: [text.split(" ")[0].strip("*</u>") for text in row[3:]] for row in rows[1:]}
    assert numbers["LoRA"] == ["71.0", "61.0", "21.0", "11.0", "31.0", "31.0"]
    assert numbers["Linear"] == ["50.0", "40.0", "10.0", "4.0", "missing", "missing"]


@pytest.mark.parametrize("suite", ["manyshot", "domainshift"])
def test_published_rows_of_the_suites_are_numbers_with_a_source(suite: str) -> None:
    rows = [row for row in load(Path("nowhere")).rows if row.benchmark == suite]
    assert len(rows) == {"manyshot": 62, "domainshift": 13}[suite]
    names = {
        "manyshot": {"cifar100_full", "resisc45_full", "clevr_distance_full"},
        "domainshift": {"imagenet", *SHIFTS},
    }
    assert all(set(row.cells) == names[suite] and row.source.startswith("OSU-MLB/ViT_PEFT_Vision") for row in rows)


def test_published_rows_stand_below_though_they_are_of_other_images() -> None:
    (comparison,) = build_comparisons([shifted(70.0, "lora", v2=60.0, sketch=20.0, a=10.0, r=30.0)])
    rows = beside(load(Path("nowhere")).rows, comparison)
    text = to_markdown([accuracy_table(comparison, rows)])
    assert len(rows) == 13 and "| bitfit [OSU]" in text and "| 55.4 |" in text and "100 images of each class" in text
