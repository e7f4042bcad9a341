"""Records for the tests of tables and statistics, and how to lay them down as a run does."""

import copy
import json
from pathlib import Path
from typing import Any

from aoft_bench.records.files import record_path
from aoft_bench.records.identity import record_hash

TIMM = "vit_base_patch16_224.orig_in21k"


def record(
    top1: float, dataset: str = "cifar100", method: str = "lora", seed: int = 0, **changes: Any
) -> dict[str, Any]:
    """A record as run.py writes it, as far as tables read it; `changes` are by path, with __ for the dot."""
    made: dict[str, Any] = {
        "schema": 1,
        "backbone": "vit_b16_in21k",
        "method": method,
        "dataset": dataset,
        "seed": seed,
        "hash": "0123456789",
        "protocol": {"name": "clean"},
        "metrics": {"split": "test", "top1": top1, "correct": round(100 * top1), "total": 10_000},
        "curves": {"train_loss": [0.5]},
        "parameters": {"trained": 294_912, "head": 76_900},
        "data": {
            "fingerprint": f"{dataset:_<12}",
            "source": "tfds",
            "official": True,
            "official_note": "",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "weights": {"sha256": "a" * 64, "source": TIMM},
        "precision": "fp32",
        "cost": {
            "train_seconds": 100.0,
            "train_images_per_second": 320.0,
            "score_images_per_second": 800.0,
            "peak_memory_bytes": 2**30,
            "trained_file_bytes": 1_500_000,
        },
        "hardware": {"device": "cuda", "gpu": "a GPU", "cpu": "a CPU", "cores": 8, "threads": 8, "system": "Linux"},
        "versions": {"torch": "2.9.0"},
        "config": {
            "dataset": {"name": dataset},
            "backbone": {"name": "vit_b16_in21k", "timm": TIMM, "checkpoint": None, "img_size": 224},
            "data": {"interpolation": "bicubic", "normalization": "backbone"},
            "recipe": {
                "epochs": 100,
                "batch_size": 32,
                "lr": 1e-3,
                "weight_decay": 1e-4,
                "warmup_epochs": None,
            },
            "method": {"name": method, "rank": 8},
            "protocol": {"name": "clean"},
            "trainer": {},
            "seed": seed,
        },
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = made
        for parent in parents:
            node = node[parent]
        node[last] = value
    return copy.deepcopy(made)


def write(root: Path, made: dict[str, Any]) -> Path:
    """Lay a record down where it belongs, with the hash of what it says."""
    made["hash"] = record_hash(made)
    path = record_path(root, made["backbone"], made["method"], made["dataset"], made["seed"], made["hash"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made))  # not `write_record`, which waits for the disk
    return path


def markdown_rows(text: str) -> list[list[str]]:
    """The body of the Markdown tables, cell by cell, header first."""
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
