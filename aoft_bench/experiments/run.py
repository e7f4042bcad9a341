"""One cell from end to end: prepare, train, score once, record. Done once, whoever asks for it and however often."""

import datetime
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save

from aoft_bench import data
from aoft_bench.backbones.weights import weights_name
from aoft_bench.config.schema import RunConfig
from aoft_bench.data.prepared_task import Split
from aoft_bench.experiments.ddp import fit_together
from aoft_bench.experiments.experiment import Adapted, Cell, build, final_score, identify
from aoft_bench.methods.counts import parameter_counts, parameter_table
from aoft_bench.records.code_version import code_digest, git_state, version_of
from aoft_bench.records.files import read_record, write_record
from aoft_bench.records.schema import SCHEMA
from aoft_bench.records.unfinished import note_failure, refuse_other_code, remove_leftovers, worker_noted
from aoft_bench.training import hardware
from aoft_bench.training.fit import Fit, fit
from aoft_bench.training.shards import Share
from aoft_bench.training.wandb import mirror_of
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import check_writable, write_atomically
from aoft_bench.utils.locks import claim

PACKAGES = ("aoft_bench", "torch", "torchvision", "timm", "pytorch-lightning", "hydra-core", "numpy", "pillow", "peft")


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: "elsewhere" is one that another process runs. record: what its file holds, if there is one."""

    kind: Literal["done", "skipped", "elsewhere", "dry run"]
    path: Path | None
    record: dict[str, Any] | None


def run(config: RunConfig, command: str, *, wait: bool = True) -> Outcome:
    """Run a cell, or find that it is done. `command` is what the record says reproduces it.

    A cell that another process runs is waited for, or with wait=False left to it. A run that was stopped goes on from
    its last epoch. An error leaves a failure record (see `unfinished.note_failure`) and is raised.
    """
    code_digest(), git_state()  # as they are now: a sweep may go on for hours while the checkout moves on
    hardware.prepare_cpu(config.trainer.threads)
    if config.dry_run:
        dry_run(config)
        return Outcome("dry run", None, None)
    processes = hardware.processes_of(config.trainer)
    cell = identify(config)
    files, force = cell.files, config.results.mode == "force"
    if files.record.is_file() and not force:
        return Outcome("skipped", files.record, read_record(files.record))
    if config.results.mode == "only-cached":
        raise UserError(f"{cell.label} has no record at {files.record}; results.mode=missing runs it")
    check_writable(files.record)
    refuse_other_code(Path(config.results.root).expanduser())
    with claim(files.lock, cell.label, wait=wait) as mine:
        if not mine:
            return Outcome("elsewhere", files.record, None)
        if files.record.is_file() and not force:  # done since we looked
            return Outcome("skipped", files.record, read_record(files.record))
        remove_leftovers(files)
        with worker_noted(files.worker):
            try:
                record = _train_and_score(cell, command, processes)
            except Exception as error:
                note_failure(files.failure, cell.label, command, config.as_dict(), error)
                raise
        for path in (files.checkpoint, files.failure):
            path.unlink(missing_ok=True)
    files.lock.unlink(missing_ok=True)
    return Outcome("done", files.record, record)


def _train_and_score(cell: Cell, command: str, processes: int) -> dict[str, Any]:
    """Train a cell, score it once, save what was trained, write its record."""
    hardware.reset_peak_memory(cell.device)
    adapted = build(cell.config, cell.prepared.classes, cell.device)
    scored = score_split(cell) if cell.protocol.every_epoch else None
    official = cell.prepared.official
    with mirror_of(cell.config, label=cell.label, digest=cell.digest, official=official) as mirror:
        if processes > 1:
            trained = fit_together(cell, adapted.handle, processes, mirror.logger)
        else:
            trained = train(cell, adapted, scored, mirror.logger)
        start = time.monotonic()
        correct, total, merged = final_score(cell, adapted, scored or score_split(cell))
        seconds = time.monotonic() - start
        record = describe(cell, adapted, trained, (correct, total, merged), seconds, command)
        write_atomically(cell.files.trained, lambda partial: _save(adapted, partial))
        record["cost"]["trained_file_bytes"] = cell.files.trained.stat().st_size
        write_record(cell.files.record, record)
        mirror.summarize(record)
    return record


def dry_run(config: RunConfig) -> None:
    """Build the model without weights and print its parameter table; data is needed for a pack of one's own only."""
    task = data.task(config.dataset.name)
    classes = task.classes or identify(config).prepared.classes
    adapted = build(config, classes, hardware.device_of(config.trainer), weights=False)
    print(parameter_table(adapted.handle, f"{config.method_label} on {config.backbone.name}, {classes} classes"))


def train(cell: Cell, adapted: Adapted, scored: Split | None, logger: Any, share: Share | None = None) -> Fit:
    """Train on the protocol's training split, or on this process's share of each of its batches."""
    config = cell.config
    return fit(
        adapted.handle,
        cell.train_batches(),
        config.recipe,
        config.trainer,
        mean=adapted.mean,
        std=adapted.std,
        device=cell.device,
        precision=cell.precision,
        label=cell.label,
        scored=cell.protocol.score,
        checkpoint=cell.files.checkpoint,
        score_batches=cell.batches_of(scored) if scored else None,
        logger=logger,
        share=share,
    )


def score_split(cell: Cell) -> Split:
    """The split whose accuracy is the result. The only caller of `open_test`, once a run."""
    return cell.prepared.open_test() if cell.protocol.score == "test" else cell.prepared.train("val200")


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
            "peak_memory_bytes": max(trained.peak_memory_bytes, hardware.peak_memory_bytes(cell.device)),
            "resumed": trained.resumed,
        },
        "hardware": {**hardware.describe(cell.device), "processes": trained.processes},
        "versions": {name: version_of(name) for name in PACKAGES},
        "git": git_state(),
        "code": code_digest(),
        "config": config.as_dict(),
    }


def _save(adapted: Adapted, path: Path) -> None:
    # not safetensors' save_file: on a full disk it raises an error of its own, without the errno
    path.write_bytes(save(adapted.handle.state_dict()))
