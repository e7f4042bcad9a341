"""What is written down of an experiment: its record, and the facts that W&B shows."""

import datetime
from typing import Any

from aoft_bench.backbones.weights import weights_name
from aoft_bench.config.method_packages import versions_of
from aoft_bench.config.schema import RunConfig
from aoft_bench.data.prepared_task import PreparedTask
from aoft_bench.experiments.experiment import Experiment
from aoft_bench.experiments.scoring import Score
from aoft_bench.records.code_version import code_digest, git_state, version_of
from aoft_bench.records.schema import SCHEMA
from aoft_bench.training import hardware
from aoft_bench.training.job import TrainingResult
from aoft_bench.training.model import AdaptedModel

PACKAGES = ("aoft_bench", "torch", "torchvision", "timm", "pytorch-lightning", "hydra-core", "numpy", "pillow", "peft")


def facts_of(experiment: Experiment) -> dict[str, Any]:
    """What W&B shows of a cell beside its configuration: device, precision, digests, versions."""
    return {
        "device": experiment.device.type,
        "precision": experiment.precision,
        "weights_sha256": experiment.weights_sha256,
        "data_fingerprint": experiment.prepared.fingerprint,
        "versions": versions_of_cell(experiment.config),
        "code": code_digest(),
        "git": git_state(),
    }


def versions_of_cell(config: RunConfig) -> dict[str, str | None]:
    """The packages that a number depends on, that of a method from elsewhere among them, with their versions."""
    return {name: version_of(name) for name in PACKAGES} | versions_of(type(config.method.options).__module__)


def describe(
    experiment: Experiment, adapted: AdaptedModel, trained: TrainingResult, score: Score, command: str
) -> dict[str, Any]:
    """The record of an experiment: what was measured, on which data, with which code, on which hardware."""
    config, prepared, protocol = experiment.config, experiment.prepared, experiment.protocol
    correct, total = score.correct, score.total
    metrics: dict[str, Any] = {
        "split": protocol.score,
        "top1": 100 * correct / total,
        "correct": correct,
        "total": total,
    }
    per_epoch = trained.curves.get(f"{protocol.score}_top1", [])
    if protocol.best_test_epoch:
        best = max(per_epoch)
        metrics |= {"best_test_epoch_top1": best, "best_test_epoch": 1 + per_epoch.index(best)}
    if score.shifts:
        metrics["shifts"] = {
            name: {"top1": 100 * shift.correct / shift.total, **shift._asdict()} for name, shift in score.shifts.items()
        }
    choice = adapted.handle.choice_digest()
    return {
        "schema": SCHEMA,
        "backbone": config.backbone.name,
        "method": config.method.label,
        "dataset": config.dataset.name,
        "seed": config.seed,
        "hash": experiment.digest,
        "command": command,
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "protocol": {
            "name": protocol.name,
            "train": experiment.trained_split,
            "score": protocol.score,
            "epoch": "last",
        },
        "metrics": metrics,
        "curves": trained.curves,
        "parameters": adapted.handle.parameter_counts(),
        **({} if choice is None else {"prepared": choice}),
        "data": {
            "fingerprint": prepared.fingerprint,
            "manifest": prepared.manifest,
            "source": prepared.source,
            "source_note": prepared.source_note,
            "official": prepared.official,
            "official_note": prepared.official_note,
            "classes": prepared.classes,
            **_of_own(prepared),
            "sizes": prepared.sizes,
            "copies": experiment.copies,
            "shape": list(prepared.shape) if prepared.shape else None,
            "squashed_by": prepared.squashed_by,
            "mean": list(adapted.mean),
            "std": list(adapted.std),
        },
        "weights": {"sha256": experiment.weights_sha256, "source": weights_name(config.backbone)},
        "precision": experiment.precision,
        "merged": score.merged,
        "cost": {
            "train_seconds": round(trained.seconds, 3),
            "train_images_per_second": round(trained.images_per_second, 2),
            "score_seconds": round(score.seconds, 3),
            "score_images_per_second": round((total + sum(s.total for s in score.shifts.values())) / score.seconds, 2),
            "peak_memory_bytes": max(trained.peak_memory_bytes, hardware.peak_memory_bytes(experiment.device)),
            "resumed": trained.resumed,
        },
        "hardware": {**hardware.describe(experiment.device), "processes": trained.processes},
        "versions": versions_of_cell(config),
        "git": git_state(),
        "code": code_digest(),
        "config": config.as_dict(),
    }


def _of_own(prepared: PreparedTask) -> dict[str, Any]:
    """What a record says of images beside their digests: what was drawn, and the names of one's own classes, in the
    order of the labels."""
    names = prepared.class_names if prepared.task.suite == "own" else None
    return {
        **({"drawn": prepared.drawn} if prepared.drawn else {}),
        **({"class_names": list(names)} if names else {}),
    }
