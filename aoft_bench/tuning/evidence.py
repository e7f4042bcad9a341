"""What tuning says: the records of protocol `tune` below a folder, each reduced to what a choice needs.

Nothing is read of a record of another protocol but its name: their numbers are of test images, which no choice may see.
"""

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError


@dataclass(frozen=True)
class Setting:
    """What runs must share besides method and task so that their scores can be compared.

    backbone: its name; weights, data: the first twelve digits of their SHA-256 and fingerprint; px: input side;
    normalization: mean and standard deviation.
    """

    backbone: str
    weights: str
    px: int
    interpolation: str
    normalization: str
    precision: str
    epochs: int
    data: str

    def __str__(self) -> str:
        return (
            f"backbone {self.backbone} (weights {self.weights}), {self.px} px {self.interpolation}, "
            f"normalization {self.normalization}, {self.precision}, {self.epochs} epochs, data {self.data}"
        )


SETTING_NAMES = tuple(field.name for field in dataclasses.fields(Setting))


@dataclass(frozen=True)
class Run:
    """A tuning run.

    method: its row's name; registered: the method behind it; values: every value of recipe and method, by dotted name;
    score: val200 top-1 as a fraction of images; trained: parameters without the head; commit: of the code.
    """

    path: Path
    method: str
    registered: str
    dataset: str
    seed: int
    setting: Setting
    values: dict[str, Any]
    score: Fraction
    images: int
    trained: int
    commit: str
    command: str


@dataclass(frozen=True)
class Evidence:
    """All of a folder. left_out: why a damaged or doubled record does not count; others: records of other protocols."""

    runs: list[Run]
    left_out: list[str]
    others: int


def read(root: Path) -> Evidence:
    """The tuning records below `root`, in order of their paths, whatever finished first."""
    runs: list[Run] = []
    left_out: list[str] = []
    others = 0
    first: dict[str, Path] = {}
    for path in sorted((root / "records").rglob("*.json")):
        try:
            if not _is_tuning(path):
                others += 1
                continue
            run = _run(path, read_record(path))
        except UserError as error:
            left_out.append(str(error))
            continue
        twin = first.setdefault(_identity(run), path)
        if twin == path:
            runs.append(run)
        else:
            left_out.append(f"{path} is of the same run as {twin}, which counts; delete one of them")
    return Evidence(runs, left_out, others)


def _is_tuning(path: Path) -> bool:
    """Whether the record says that it is of protocol `tune`; what cannot be read is left to `read_record` to name."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        name = record["protocol"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return bool(name == "tune")


def _run(path: Path, record: dict[str, Any]) -> Run:
    config, metrics = record["config"], record["metrics"]
    _check_score(path, metrics)
    for name in (record["method"], record["dataset"]):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name):
            raise UserError(f"{path}: {name!r} cannot be a file's name; the record was edited: run the cell again")
    method = {k: v for k, v in config["method"].items() if k not in ("name", "label")}
    values = {f"method.{k}": v for k, v in method.items()} | {f"recipe.{k}": v for k, v in config["recipe"].items()}
    git = record.get("git") or {}
    return Run(
        path=path,
        method=record["method"],
        registered=str(config["method"].get("name")),
        dataset=record["dataset"],
        seed=record["seed"],
        setting=_setting(record),
        values=values,
        score=Fraction(metrics["correct"], metrics["total"]),
        images=metrics["total"],
        trained=record["parameters"]["trained"],
        commit=f"{git.get('commit') or 'unknown'}{', changed since' if git.get('dirty') else ''}",
        command=" ".join(str(record.get("command") or "unknown").split()),
    )


def _check_score(path: Path, metrics: dict[str, Any]) -> None:
    if metrics["split"] != "val200":
        raise UserError(f"{path} says protocol tune but was scored on {metrics['split']!r}; it was edited: delete it")
    top1, correct, total = metrics["top1"], metrics["correct"], metrics["total"]
    if not (math.isfinite(top1) and 0 <= correct <= total and total and abs(top1 - 100 * correct / total) < 1e-6):
        raise UserError(
            f"{path}: top-1 {top1} is not that of {correct} of {total}; the record was edited: run the cell again"
        )


def _setting(record: dict[str, Any]) -> Setting:
    config, data = record["config"], record["data"]
    mean, std = ("/".join(dict.fromkeys(f"{value:g}" for value in data[name])) for name in ("mean", "std"))
    return Setting(
        backbone=record["backbone"],
        weights=record["weights"]["sha256"][:12],
        px=config["backbone"]["img_size"],
        interpolation=config["data"]["interpolation"],
        normalization=f"{mean}±{std}",
        precision=record["precision"],
        epochs=config["recipe"]["epochs"],
        data=data["fingerprint"][:12],
    )


def _identity(run: Run) -> str:
    parts = (run.method, run.registered, run.dataset, run.seed, dataclasses.asdict(run.setting), run.values)
    return json.dumps(parts, sort_keys=True, default=str)
