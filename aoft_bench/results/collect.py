"""The records of a results folder that may be compared, and those left out with the reason.

A record is left out when it is damaged, of another schema, not where it belongs, not finite, or says what does not
follow from itself. It is named; it is never averaged.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aoft_bench.data.tasks import TASKS
from aoft_bench.records.files import _at, cell_hash, read_record, record_path
from aoft_bench.records.protocols import PROTOCOLS
from aoft_bench.utils.errors import UserError

Record = dict[str, Any]

# what tables read beyond what `read_record` checks
_READ: dict[str, Any] = {
    "data.source": str,
    "data.official_note": str,
    "weights.source": str,
    "config.method.name": str,
    "config.recipe": dict,
    "config.recipe.batch_size": int,
    "config.data.normalization": str,
    "config.backbone.timm": str,
    "curves": dict,
    "cost": dict,
    "hardware": dict,
}

# numbers of 0 and more, where a record has them
_NUMBERS = (
    "metrics.top1",
    "metrics.best_test_epoch_top1",
    "parameters.trained",
    "parameters.head",
    "parameters.trained_with_head",
    "cost.train_images_per_second",
    "cost.score_images_per_second",
    "cost.peak_memory_bytes",
    "cost.trained_file_bytes",
    "hardware.processes",
)


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Collected:
    """What a results folder holds: `records` in order of their paths, and what was `left_out` of them."""

    records: list[Record] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def collect(root: Path) -> Collected:
    """The good records below `root`/records, and the others with the reason why they are left out.

    Of a cell that stands in two files, the one in its proper place is kept and the other is left out, by name.
    """
    found = Collected()
    copies: dict[tuple[Any, ...], list[Path]] = {}
    for path in sorted((root / "records").rglob("*.json")):
        try:
            record = _checked(path)
            key = (*(record[name] for name in ("backbone", "method", "dataset", "seed")), record["hash"])
            copies.setdefault(key, []).append(path)
            _check_place(root, path, record)
        except UserError as error:
            reason = str(error).removeprefix(str(path)).removeprefix(":").strip()
            found.left_out.append(LeftOut(path, reason))
            continue
        found.records.append(record)
        found.paths.append(path)
    twice = {path: paths for paths in copies.values() if len(paths) > 1 for path in paths}
    found.left_out[:] = [_named_twice(left, twice.get(left.path, []), found.paths) for left in found.left_out]
    return found


def identity(record: Record) -> dict[str, Any]:
    """What the hash of a record is over, from the record itself; as `experiment.identity_of`, torch-free.

    Raises `KeyError` for a record that lacks a part of it.
    """
    config = record["config"]
    recipe = dict(config["recipe"])
    if recipe["warmup_epochs"] is None:
        recipe["warmup_epochs"] = recipe["epochs"] // 10
    return {
        "dataset": config["dataset"]["name"],
        "fingerprint": record["data"]["fingerprint"],
        "interpolation": config["data"]["interpolation"],
        "normalization": config["data"]["normalization"],
        "img_size": config["backbone"]["img_size"],
        "timm": config["backbone"]["timm"],
        "weights": record["weights"]["sha256"],
        "method": {key: value for key, value in config["method"].items() if key != "label"},
        "recipe": recipe,
        "protocol": config["protocol"]["name"],
        "seed": config["seed"],
        "precision": record["precision"],
    }


def _checked(path: Path) -> Record:
    if path.name.endswith(".failed.json"):
        raise UserError("is not a result but the trace of a run that failed; run the cell again")
    record = read_record(path)
    for name, kind in _READ.items():
        if not isinstance(value := _at(record, name), kind):
            raise _damaged(name, value)
    if record["dataset"] not in TASKS:
        raise UserError(f"its dataset {record['dataset']!r} is no task of this version; use the version that wrote it")
    for name in _not_finite(record):
        raise UserError(f"{name} is not a finite number; run the cell again")
    for name, value in _of_another_kind(record):
        raise _damaged(name, value)
    _check_edited(record)
    return record


def _damaged(name: str, value: Any) -> UserError:
    return UserError(f"{name} is {value!r}; the record is damaged or was edited: run the cell again")


def _of_another_kind(record: Record) -> Iterator[tuple[str, Any]]:
    """(path, value) of what is no number where a run writes one; in lists, and in what not every record has."""
    for name in ("data.mean", "data.std"):
        if len(_at(record, name)) != 3 or not all(map(_is_number, _at(record, name))):
            yield name, _at(record, name)
    for name, values in record["curves"].items():
        if not isinstance(values, list):
            yield f"curves.{name}", values
        else:
            yield from ((f"curves.{name} ({i})", v) for i, v in enumerate(values, 1) if not _is_number(v))
    for name in _NUMBERS:
        if (value := _at(record, name)) is not None and (not _is_number(value) or value < 0):
            yield name, value
    if not isinstance(record.get("versions", {}), dict):
        yield "versions", record["versions"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_edited(record: Record) -> None:
    """Raise `UserError` where a record says what does not follow from what else it says."""
    try:
        digest = cell_hash(identity(record))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"its configuration is not whole ({error}); run the cell again") from None
    metrics = record["metrics"]
    top1, correct, total = metrics["top1"], metrics["correct"], metrics["total"]
    if not 0 <= correct <= total or not total or abs(top1 - 100 * correct / total) > 1e-6:
        raise UserError(
            f"metrics.top1 is {top1:g}, but {correct:,} of {total:,} are right; was it edited? run it again"
        )
    protocol = PROTOCOLS.get(record["config"]["protocol"]["name"])
    if protocol and metrics["split"] != protocol.score:
        raise UserError(
            f"metrics.split is {metrics['split']!r}, but protocol {protocol.name} scores {protocol.score}; "
            "was it edited? run it again"
        )
    counts = record["parameters"]
    both = counts["trained"] + counts["head"]
    if counts.get("trained_with_head") not in (None, both):
        raise UserError(
            f"parameters.trained_with_head is {counts['trained_with_head']:,}, but {counts['trained']:,} + "
            f"{counts['head']:,} are trained; was it edited? run it again"
        )
    per_epoch = record["curves"].get(f"{metrics['split']}_top1")
    best = metrics.get("best_test_epoch_top1")
    if best is not None and per_epoch and abs(best - max(per_epoch)) > 1e-6:
        raise UserError(f"metrics.best_test_epoch_top1 is {best:g}, but the best of its curve is {max(per_epoch):g}")
    twice = {
        "seed": record["config"]["seed"],
        "dataset": record["config"]["dataset"]["name"],
        "backbone": record["config"]["backbone"].get("name"),
        "method": record["config"]["method"].get("label") or record["config"]["method"]["name"],
    }
    for name, value in twice.items():
        if record[name] != value:
            raise UserError(
                f"{name} is {record[name]!r}, but {value!r} in its configuration; was it edited? run it again"
            )
    if record["protocol"]["name"] != record["config"]["protocol"]["name"] or digest != record["hash"]:
        raise UserError(
            f"its hash is {record['hash']}, but {digest} is that of its configuration, data and weights; "
            "was it edited? run the cell again"
        )


def _check_place(root: Path, path: Path, record: Record) -> None:
    names = (record[name] for name in ("backbone", "method", "dataset", "seed", "hash"))
    place = record_path(root, *names)
    if path != place:
        raise UserError(f"is not in its place, {place}; move it there, or delete it")


def _named_twice(left: LeftOut, copies: list[Path], kept: list[Path]) -> LeftOut:
    """What is said of a file whose cell stands in another file too."""
    others = [path for path in copies if path != left.path]
    if not others:
        return left
    which = [path for path in others if path in kept]
    told = f"the one of {which[0]} is used" if which else f"neither is in its place; so does {others[0]}"
    return LeftOut(left.path, f"holds a cell that stands in two files; {told}: delete one")


def _not_finite(value: Any, name: str = "") -> Iterator[str]:
    """Paths of the numbers in nested dictionaries and lists that are NaN or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield name
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value, 1):
            yield from _not_finite(inner, f"{name} ({index})")
