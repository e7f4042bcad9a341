"""Whole records for tests of the page, as run.py writes them, with a hash that holds."""

import json
from pathlib import Path
from typing import Any

from aoft_bench.records.files import record_path, write_record
from aoft_bench.records.identity import record_hash

Record = dict[str, Any]


def make(method: str = "lora", dataset: str = "cifar100", seed: int = 0, correct: int = 7000, **changes: Any) -> Record:
    """A record of `correct` right of 10,000; `changes` are by path, with __ for the dot."""
    made: Record = {
        "schema": 1,
        "backbone": "vit_b16_in21k",
        "method": method,
        "dataset": dataset,
        "seed": seed,
        "command": f"python -m aoft_bench method={method} dataset={dataset} seed={seed}",
        "finished": "2026-01-02T03:04:05+00:00",
        "protocol": {"name": "clean", "train": "train800val200", "score": "test", "epoch": "last"},
        "metrics": {"split": "test", "top1": correct / 100, "correct": correct, "total": 10_000},
        "curves": {"train_loss": [2.0, 1.0, 0.5]},
        "parameters": {"trained": 294_912, "head": 76_900, "backbone": 85_798_656},
        "data": {
            "fingerprint": f"{dataset:_<64}",
            "source": "tfds",
            "source_note": "",
            "official": True,
            "official_note": "",
            "classes": 100,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "weights": {"sha256": "a" * 64, "source": "vit_base_patch16_224.orig_in21k"},
        "precision": "fp32",
        "merged": True,
        "cost": {"train_seconds": 60.5, "peak_memory_bytes": 2_000_000_000, "trained_file_bytes": 1_500_000},
        "hardware": {"device": "cuda", "gpu": "a GPU", "cpu": "a CPU", "cores": 8, "threads": 8, "system": "Linux"},
        "versions": {"aoft_bench": "0.1.0", "torch": "2.9.0"},
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "config": {
            "dataset": {"name": dataset},
            "data": {"root": None, "interpolation": "bicubic", "normalization": "backbone"},
            "backbone": {"name": "vit_b16_in21k", "timm": "vit_base_patch16_224.orig_in21k", "img_size": 224},
            "method": {"name": method, "rank": 8},
            "recipe": {"epochs": 100, "batch_size": 64, "lr": 1e-3, "weight_decay": 1e-4, "warmup_epochs": None},
            "protocol": {"name": "clean"},
            "trainer": {"precision": "auto"},
            "seed": seed,
        },
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = made
        for parent in parents:
            node = node[parent]
        node[last] = value
    made["parameters"]["trained_with_head"] = made["parameters"]["trained"] + made["parameters"]["head"]
    made["config"]["backbone"]["name"] = made["backbone"]
    made["config"]["protocol"]["name"] = made["protocol"]["name"]
    return json.loads(json.dumps(made | {"hash": record_hash(made)}))


def write(root: Path, records: list[Record]) -> list[Path]:
    """Put records where they belong below `root`."""
    paths = []
    for record in records:
        names = (record[key] for key in ("backbone", "method", "dataset", "seed", "hash"))
        paths.append(record_path(root, *names))
        write_record(paths[-1], record)
    return paths


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
