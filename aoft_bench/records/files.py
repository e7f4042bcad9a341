"""Result records: one JSON file a cell, the only source of tables.

    <root>/records/<backbone>/<method>/<dataset>/seed<k>-<hash>.json            the record
    <root>/records/<backbone>/<method>/<dataset>/seed<k>-<hash>.safetensors     what was trained (not committed)
    <root>/unfinished/<backbone>/<method>/<dataset>/seed<k>-<hash>.ckpt         while it trains: the last epoch
    <root>/unfinished/<backbone>/<method>/<dataset>/seed<k>-<hash>.lock         while a process runs it
    <root>/failures/<backbone>/<method>/<dataset>/seed<k>-<hash>.json           why it failed, until it is done

The hash is over all that can change the number (`cell_hash`), so a cell is done exactly if its file is there. A
record is written last and in one step: what is there is whole.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_text_atomically

SCHEMA = 1

# what a table and `evaluate` need from a record, by path
REQUIRED: dict[str, Any] = {
    "schema": int,
    "backbone": str,
    "method": str,
    "dataset": str,
    "seed": int,
    "hash": str,
    "protocol.name": str,
    "data.fingerprint": str,
    "data.official": bool,
    "data.mean": list,
    "data.std": list,
    "metrics.split": str,
    "metrics.top1": (int, float),
    "metrics.correct": int,
    "metrics.total": int,
    "parameters.trained": int,
    "parameters.head": int,
    "weights.sha256": str,
    "precision": str,
    "config.backbone.img_size": int,
    "config.data.interpolation": str,
    "config.recipe.epochs": int,
    "config.method": dict,
    "config.trainer": dict,
}


def cell_hash(identity: dict[str, Any]) -> str:
    """Ten hex digits over everything that can change a cell's number, whatever the order of its keys."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def record_path(root: Path, backbone: str, method: str, dataset: str, seed: int, digest: str) -> Path:
    """Where the record of a cell is kept."""
    for name in (backbone, method, dataset):
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name) or name.startswith("."):
            raise UserError(
                f"got the name {name!r}; backbone.name and others become folders, use letters, digits, _ . + -"
            )
    return root / "records" / backbone / method / dataset / f"seed{seed}-{digest}.json"


@dataclass(frozen=True)
class CellFiles:
    """Where everything of a cell is kept. worker: which process runs it, beside its lock."""

    record: Path
    trained: Path
    checkpoint: Path
    lock: Path
    worker: Path
    failure: Path


def cell_files(root: Path, record: Path) -> CellFiles:
    """The files of the cell whose record is, or will be, `record` below `root`."""
    inside = record.relative_to(root / "records").with_suffix("")
    unfinished, failures = root / "unfinished" / inside, root / "failures" / inside
    return CellFiles(
        record=record,
        trained=record.with_suffix(".safetensors"),
        checkpoint=unfinished.with_suffix(".ckpt"),
        lock=unfinished.with_suffix(".lock"),
        worker=unfinished.with_suffix(".worker.json"),
        failure=failures.with_suffix(".json"),
    )


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record; raises `UserError` for a full disk or a folder that cannot be written."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text_atomically(path, text)


def read_record(path: Path) -> dict[str, Any]:
    """A record, checked; `UserError` naming the file if it is missing, damaged, of another schema or incomplete."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"no record {path}; records are <results>/records/<backbone>/<method>/<dataset>/*.json"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not a whole record ({error}); delete it and run the cell again") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        got = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise UserError(f"{path} has schema {got!r}, this version reads {SCHEMA}; use the version that wrote it")
    for name, kind in REQUIRED.items():
        value = _at(record, name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UserError(f"{path}: {name} is {value!r}; the record is damaged or was edited: run the cell again")
    return record


def records(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(path, record) of every record below `root`, in order of their paths; raises at the first damaged one."""
    for path in sorted((root / "records").rglob("*.json")):
        yield path, read_record(path)


def _at(record: dict[str, Any], dotted: str) -> Any:
    value: Any = record
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
