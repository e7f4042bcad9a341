"""One cell from end to end: prepare, train, score once, record."""

import datetime
import functools
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save

from aoft_bench import data
from aoft_bench.backbones import weights_name
from aoft_bench.cell import Adapted, Cell, build, final_score, identify
from aoft_bench.config import RunConfig
from aoft_bench.data.prepare import Split
from aoft_bench.errors import UserError
from aoft_bench.parameters import parameter_counts, parameter_table
from aoft_bench.results.records import SCHEMA, check_writable, read_record, write_atomically, write_record
from aoft_bench.training import hardware
from aoft_bench.training.fit import Fit, fit
from aoft_bench.training.wandb_mirror import Mirror

PACKAGES = ("aoft_bench", "torch", "torchvision", "timm", "pytorch-lightning", "hydra-core", "numpy", "pillow", "peft")


@dataclass(frozen=True)
class Outcome:
    """How a cell ended. record: what its file holds (None for a dry run)."""

    kind: Literal["done", "skipped", "dry run"]
    path: Path | None
    record: dict[str, Any] | None


def run(config: RunConfig, command: str) -> Outcome:
    """Run a cell, or find that it is done. `command` is what the record says reproduces it."""
    git_state()
    hardware.use_threads(config.trainer.threads)
    if config.dry_run:
        dry_run(config)
        return Outcome("dry run", None, None)
    cell = identify(config)
    path = cell.record_path
    if path.is_file() and config.results.mode != "force":
        return Outcome("skipped", path, read_record(path))
    if config.results.mode == "only-cached":
        raise UserError(f"{cell.label} has no record at {path}; results.mode=missing runs it")
    check_writable(path)
    hardware.reset_peak_memory(cell.device)
    adapted = build(config, cell.prepared.classes, cell.device)
    scored = score_split(cell) if cell.protocol.every_epoch else None
    with mirror_of(cell) as mirror:
        trained = train(cell, adapted, scored, mirror.logger)
        start = time.monotonic()
        correct, total, merged = final_score(cell, adapted, scored or score_split(cell))
        seconds = time.monotonic() - start
        record = describe(cell, adapted, trained, (correct, total, merged), seconds, command)
        write_atomically(cell.trained_path, lambda partial: _save(adapted, partial))
        record["cost"]["trained_file_bytes"] = cell.trained_path.stat().st_size
        write_record(path, record)
        mirror.summarize(record)
    return Outcome("done", path, record)


def dry_run(config: RunConfig) -> None:
    """Build the model without weights and print its parameter table; data is needed for a pack of one's own only."""
    task = data.task(config.dataset.name)
    classes = task.classes or identify(config).prepared.classes
    adapted = build(config, classes, hardware.device_of(config.trainer), weights=False)
    print(parameter_table(adapted.handle, f"{config.method_label} on {config.backbone.name}, {classes} classes"))


def train(cell: Cell, adapted: Adapted, scored: Split | None, logger: Any) -> Fit:
    """Train on the protocol's training split."""
    config = cell.config
    return fit(
        adapted.handle,
        cell.train_batches(),
        config.recipe,
        config.trainer,
        mean=adapted.mean,
        std=adapted.std,
        classes=cell.prepared.classes,
        device=cell.device,
        precision=cell.precision,
        label=cell.label,
        scored=cell.protocol.score,
        score_batches=cell.batches_of(scored) if scored else None,
        logger=logger,
    )


def score_split(cell: Cell) -> Split:
    """The split whose accuracy is the result. The only caller of `open_test`, once a run."""
    return cell.prepared.open_test() if cell.protocol.score == "test" else cell.prepared.train("val200")


def mirror_of(cell: Cell) -> Mirror:
    """The W&B run of a cell; its id is the cell's, so that running it again continues it."""
    c = cell.config
    return Mirror(
        c.logger,
        name=cell.label,
        group=f"{c.backbone.name}/{c.method_label}/{c.dataset.name}",
        run_id=f"{c.method_label}-{c.dataset.name}-seed{c.seed}-{cell.digest}",
        config={**c.as_dict(), "hash": cell.digest},
    )


def describe(
    cell: Cell, adapted: Adapted, trained: Fit, score: tuple[int, int, bool], score_seconds: float, command: str
) -> dict[str, Any]:
    """The record of a cell: what was measured, on what, with what, by what."""
    config, prepared, protocol = cell.config, cell.prepared, cell.protocol
    correct, total, merged = score
    metrics = {"split": protocol.score, "top1": 100 * correct / total, "correct": correct, "total": total}
    per_epoch = trained.curves.get(f"{protocol.score}_top1", [])
    if protocol.name == "literature":
        best = max(per_epoch)
        metrics |= {"best_test_epoch_top1": best, "best_test_epoch": 1 + per_epoch.index(best)}
    return {
        "schema": SCHEMA,
        "backbone": config.backbone.name,
        "method": config.method_label,
        "dataset": config.dataset.name,
        "seed": config.seed,
        "hash": cell.digest,
        "command": command,
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "protocol": {"name": protocol.name, "train": protocol.train, "score": protocol.score, "epoch": "last"},
        "metrics": metrics,
        "curves": trained.curves,
        "parameters": parameter_counts(adapted.handle),
        "data": {
            "fingerprint": prepared.fingerprint,
            "manifest": prepared.manifest,
            "source": prepared.source,
            "source_note": prepared.source_note,
            "official": prepared.official,
            "official_note": prepared.official_note,
            "classes": prepared.classes,
            "sizes": prepared.sizes,
            "shape": list(prepared.shape) if prepared.shape else None,
            "squashed_by": prepared.squashed_by,
            "mean": list(adapted.mean),
            "std": list(adapted.std),
        },
        "weights": {"sha256": cell.weights_sha256, "source": weights_name(config.backbone)},
        "precision": cell.precision,
        "merged": merged,
        "cost": {
            "train_seconds": round(trained.seconds, 3),
            "train_images_per_second": round(trained.images_per_second, 2),
            "score_seconds": round(score_seconds, 3),
            "score_images_per_second": round(total / score_seconds, 2),
            "peak_memory_bytes": hardware.peak_memory_bytes(cell.device),
        },
        "hardware": hardware.describe(cell.device),
        "versions": {name: _version(name) for name in PACKAGES},
        "git": git_state(),
        "config": config.as_dict(),
    }


def _save(adapted: Adapted, path: Path) -> None:
    # not safetensors' save_file: on a full disk it raises an error of its own, without the errno
    path.write_bytes(save(adapted.handle.state_dict()))


@functools.cache
def git_state() -> dict[str, Any]:
    """Commit of the code that this process runs, and whether it was changed since; empty outside a checkout.

    Asked once, at the first cell: a sweep may go on for hours while the checkout moves on.
    """
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return {"commit": None, "dirty": None}
    commit = _git(here, "rev-parse", "HEAD")
    # records and notes do not change what the code computes
    changed = _git(here, "status", "--porcelain", "--", "aoft_bench", "conf", "pyproject.toml")
    return {"commit": commit or None, "dirty": bool(changed)}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
