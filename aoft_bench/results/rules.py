"""The rules for a row to stand on the results page. docs/results.md gives their reasons.

A rule says how a row breaks it, in words that fit "apart: ...", or nothing. A new rule is one entry in `RULES`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from aoft_bench.data.tasks import TASKS, find
from aoft_bench.records.schema import Record
from aoft_bench.results.collect import LeftOut, collect
from aoft_bench.results.rows import Row
from aoft_bench.results.verified import Verification, key_of, read_verified

SEEDS = 3  # of each cell
VERIFIED = 3  # cells of a row that were run again


@dataclass(frozen=True)
class Proofs:
    """What a row is judged by beside its own records.

    verified: path below records/ -> what came out when the cell was run again; tuning: records of protocol tune;
    left_out: files that cannot be used.
    """

    verified: Mapping[str, Sequence[Verification]] = field(default_factory=dict)
    tuning: Sequence[Record] = ()
    left_out: Sequence[LeftOut] = ()

    @cached_property
    def tuning_by_task(self) -> Mapping[tuple[str, str], Sequence[Record]]:
        """(method, dataset) -> its tuning records."""
        found: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for record in self.tuning:
            found[record["method"], record["dataset"]].append(record)
        return found


def read_proofs(root: Path, records: Sequence[Record]) -> Proofs:
    """The proofs in a results folder with these records: its verified.json, and what was tuned there or in
    `root`/tuning."""
    cells, left_out = read_verified(root)
    verified: dict[str, list[Verification]] = defaultdict(list)
    for cell in cells:
        verified[cell.record].append(cell)
    tuning = [record for record in records if record["protocol"]["name"] == "tune"]
    return Proofs(verified, [*tuning, *collect(root / "tuning", "tune").records], left_out)


def broken_rules(row: Row, proofs: Proofs) -> tuple[str, ...]:
    """How a row breaks the rules; empty for a row that may stand on the results page."""
    found = (rule(row, proofs) for rule in RULES)
    return tuple(text for text in found if text)


def _complete(row: Row, proofs: Proofs) -> str:
    suite = find(next(iter(row.cells))).suite
    tasks = [*row.cells] if suite == "own" else [name for name, task in TASKS.items() if task.suite == suite]
    there = sum(name in row.cells for name in tasks)
    return "" if there == len(tasks) else f"{there} of the {len(tasks)} tasks of its suite"


def _several_seeds(row: Row, proofs: Proofs) -> str:
    fewest = min(map(len, row.cells.values()))
    return "" if fewest >= SEEDS else f"{fewest} seed{'s' * (fewest > 1)} in a cell, fewer than {SEEDS}"


def _official(row: Row, proofs: Proofs) -> str:
    official = all(record["data"]["official"] for record in row.records)
    return "" if official else "not proven to be the official images and splits"


def _tuned_on_val200(row: Row, proofs: Proofs) -> str:
    """Test is read once, after training; what differs between tasks was the best of its tuning records."""
    protocol = row.records[0]["protocol"]["name"]
    if protocol != "clean":
        return f"protocol {protocol}, not clean"
    recipes = {record["dataset"]: record["config"]["recipe"] for record in row.records}
    names = {name for recipe in recipes.values() for name in recipe}
    by_task = sorted(name for name in names if len({str(recipe.get(name)) for recipe in recipes.values()}) > 1)
    if not by_task:
        return ""
    if all(_best_on_val200(row, name, by_task, proofs) for name in recipes):
        return ""
    return f"{', '.join(by_task)} set by task, and not the best of tuning records that are here"


def _best_on_val200(row: Row, task: str, names: Sequence[str], proofs: Proofs) -> bool:
    """Whether the values of `names` on a task have tuning records, and no other values have better ones."""
    ours = next(record for record in row.records if record["dataset"] == task)
    scores: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for record in proofs.tuning_by_task.get((ours["method"], task), ()):
        if _like(record, names) == _like(ours, names):
            scores[_values(record, names)].append(record["metrics"]["top1"])
    means = {values: fmean(some) for values, some in scores.items()}
    return bool(means) and means.get(_values(ours, names), -1.0) >= max(means.values()) - 1e-9


def _values(record: Record, names: Sequence[str]) -> tuple[str, ...]:
    recipe = record["config"]["recipe"]
    return tuple(str(recipe.get(name)) for name in names)


def _like(record: Record, names: Sequence[str]) -> tuple[Any, ...]:
    """What a tuning record shares with the cell that it is for; a grid may train for fewer epochs."""
    recipe, free = record["config"]["recipe"], {*names, "epochs", "warmup_epochs"}
    return (
        record["backbone"],
        record["data"]["fingerprint"],
        record["weights"]["sha256"],
        sorted((name, str(value)) for name, value in record["config"]["method"].items()),
        sorted((name, str(value)) for name, value in recipe.items() if name not in free),
    )


def _verified(row: Row, proofs: Proofs) -> str:
    """Some cells were run again and came out, and none came out otherwise."""
    good = 0
    for record in row.records:
        cells = [cell for cell in proofs.verified.get(key_of(record), ()) if cell.is_of(record)]
        for cell in cells:
            if cell.outcome == "differs":
                again = 100 * cell.reproduced / cell.total
                return f"seed {record['seed']} of {record['dataset']} came out as {again:.2f} when run again"
        good += bool(cells)
    return "" if good >= VERIFIED else f"{good} of at least {VERIFIED} cells verified"


RULES: tuple[Callable[[Row, Proofs], str], ...] = (_complete, _several_seeds, _official, _tuned_on_val200, _verified)
