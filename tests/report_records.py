"""Whole records for tests of the page, as a run writes them, with a hash that holds."""

import copy
import json
from pathlib import Path
from typing import Any

import record_cases

from aoft_bench.records.identity import record_hash

Record = dict[str, Any]

# what tables do not read but the page shows
_MORE: dict[str, Any] = {
    "finished": "2026-01-02T03:04:05+00:00",
    "protocol": {"name": "clean", "train": "train800val200", "score": "test", "epoch": "last"},
    "curves": {"train_loss": [2.0, 1.0, 0.5]},
    "parameters__backbone": 85_798_656,
    "data__source_note": "",
    "data__classes": 100,
    "merged": True,
    "cost": {"train_seconds": 60.5, "peak_memory_bytes": 2_000_000_000, "trained_file_bytes": 1_500_000},
    "versions": {"aoft_bench": "0.1.0", "torch": "2.9.0"},
    "git": {"commit": "0123456789abcdef", "dirty": False},
    "config__data__root": None,
}


def make(method: str = "lora", dataset: str = "cifar100", seed: int = 0, correct: int = 7000, **changes: Any) -> Record:
    """A record of `correct` right of 10,000; `changes` are by path, with __ for the dot."""
    command = f"python -m aoft_bench method={method} dataset={dataset} seed={seed}"
    made = record_cases.record(
        correct / 100, dataset, method, seed, **(copy.deepcopy(_MORE) | {"command": command} | changes)
    )
    made["parameters"]["trained_with_head"] = made["parameters"]["trained"] + made["parameters"]["head"]
    made["config"]["backbone"]["name"] = made["backbone"]
    made["config"]["protocol"]["name"] = made["protocol"]["name"]
    return json.loads(json.dumps(made | {"hash": record_hash(made)}))


def write(root: Path, records: list[Record]) -> list[Path]:
    """Put records where they belong below `root`."""
    return [record_cases.write(root, record) for record in records]


def several() -> list[Record]:
    """Two settings: 224 px with linear, lora (two seeds, eurosat missing) and aoft; 112 px with lora."""
    small = {"config__backbone__img_size": 112, "data__official": False, "data__official_note": "a folder pack"}
    return [
        make("linear", correct=4000, parameters__trained=0),
        make("linear", "svhn", correct=3000, parameters__trained=0),
        make("lora", correct=6000),
        make("lora", seed=1, correct=6200),
        make("aoft", correct=6104, parameters__trained=129_408),
        make("aoft", "svhn", correct=8000, parameters__trained=129_408),
        make("lora", correct=9000, config__data__interpolation="bilinear", **small),
    ]
