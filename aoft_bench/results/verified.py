"""Which cells of a results folder were run again, and what came out: RESULTS/verified.json.

`aoft-bench verify` writes the file, the rules for a row (`results.rules`) read it, and `merge-results` puts several
together. An entry counts only as long as its record says the number that was verified.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aoft_bench.records.files import parse_record, place_of
from aoft_bench.records.schema import Digest, Record, Whole
from aoft_bench.results.collect import LeftOut
from aoft_bench.results.image_sets import subset_of
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_text_atomically
from aoft_bench.utils.text import one_line

NAME = "verified.json"
LIMIT = 2.8  # 1.96 √2: of one normal distribution, two draws differ by more standard deviations once in 20 times

Outcome = Literal["equal", "within the spread", "differs"]


class Verification(BaseModel):
    """A cell that was run again.

    record: its path below RESULTS/records; correct, total: as recorded; reproduced: images that were right the second
    time; tolerance: in points of top-1, None where there was no spread to tell it from; code, hardware, torch: of the
    second run; finished: when it ended.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)

    record: str
    correct: Whole
    total: Annotated[int, Field(ge=1, le=10**15)]
    reproduced: Whole
    tolerance: Annotated[float, Field(ge=0, le=100)] | None
    code: Digest
    hardware: str
    torch: str | None
    finished: str

    @property
    def difference(self) -> float:
        """Reproduced minus recorded top-1, in points."""
        return 100 * (self.reproduced - self.correct) / self.total

    @property
    def outcome(self) -> Outcome:
        """Whether the number came out."""
        if self.reproduced == self.correct:
            return "equal"
        within = self.tolerance is not None and abs(self.difference) <= self.tolerance + 1e-9
        return "within the spread" if within else "differs"

    def is_of(self, record: Record) -> bool:
        """Whether this is the number that `record` says."""
        metrics = record["metrics"]
        return self.record == key_of(record) and (self.correct, self.total) == (metrics["correct"], metrics["total"])


def key_of(record: Record) -> str:
    """The path of a record below RESULTS/records."""
    return place_of(record, Path()).relative_to("records").as_posix()


def machine_of(record: Record) -> str:
    """The machine that a record was made on, in words."""
    hardware = record["hardware"]
    threads, processes = hardware.get("threads") or 1, hardware.get("processes") or 1
    cpu = f"{hardware.get('cpu') or 'unknown CPU'}, {threads} thread{'s' * (threads > 1)}"
    together = f", {processes} processes" if processes > 1 else ""
    return f"{hardware.get('gpu') or cpu}{together}, {hardware.get('system') or 'unknown system'}"


def read_verified(root: Path) -> tuple[list[Verification], list[LeftOut]]:
    """The verifications of a results folder; none, and why, for a file that cannot be used."""
    path = root / NAME
    if not path.exists():
        return [], []
    try:
        values = parse_record(path)
        entries = values.get("cells") if isinstance(values, dict) and values.get("schema") == 1 else None
        if not isinstance(entries, list):
            raise UserError("is no list of verified cells of schema 1; delete it and run aoft-bench verify again")
        return [Verification.model_validate(entry) for entry in entries], []
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        reason = one_line(f"{name}: {first['msg']}; delete it and run aoft-bench verify again")
    except UserError as error:
        reason = str(error)
    return [], [LeftOut(path, reason)]


def write_verified(root: Path, cells: Iterable[Verification]) -> None:
    """Write the file, sorted and each entry once."""
    entries = sorted(set(cells), key=lambda cell: (cell.record, cell.finished, cell.model_dump_json()))
    values: dict[str, Any] = {"schema": 1, "cells": [entry.model_dump() for entry in entries]}
    write_text_atomically(root / NAME, json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def tolerance_of(record: Record, records: Sequence[Record]) -> float | None:
    """By how many points of top-1 a cell may differ when it is run again on another machine: `LIMIT` times the spread.

    A run on another processor ends with other last bits, and so as far from the first as another seed would. The spread
    is the standard deviation over seeds, s² = Σ (x - mean of its task)² / Σ (seeds of the task - 1), of the cells of
    `records` that differ from `record` only in task and seed. The cell itself is left out, as it is the one in doubt.
    None where no task has two other seeds.
    """
    by_task: dict[str, dict[int, float]] = defaultdict(dict)
    for other in records:
        if _variant(other) == _variant(record) and other["hash"] != record["hash"]:
            by_task[other["dataset"]].setdefault(other["seed"], other["metrics"]["top1"])
    several = [list(values.values()) for values in by_task.values() if len(values) > 1]
    if not several:
        return None
    squares = sum((len(values) - 1) * statistics.variance(values) for values in several)
    return LIMIT * math.sqrt(squares / sum(len(values) - 1 for values in several))


def _variant(record: Record) -> tuple[Any, ...]:
    """What a row's cells share (results.settings), but for recipes, which may differ by task."""
    config = record["config"]
    return (
        *(record[name] for name in ("backbone", "method", "precision")),
        record["weights"]["sha256"],
        record["protocol"]["name"],
        config["backbone"]["img_size"],
        config["recipe"]["epochs"],
        sorted((name, str(value)) for name, value in config["method"].items()),
        record["data"]["official"],
        subset_of(record["data"].get("drawn") or {}),
    )
