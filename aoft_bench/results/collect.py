"""The records of a results folder that may be compared, and those left out with the reason.

A record is left out when `records.schema.check_record` refuses it, when its dataset is unknown, or when its file is not
where it belongs. It is named; it is never averaged.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from aoft_bench.data.tasks import TASKS
from aoft_bench.records.files import parse_record, record_path
from aoft_bench.records.schema import Record, check_record
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import one_line


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used, and why."""

    path: Path
    reason: str

    def below(self, root: Path) -> "LeftOut":
        """The same with paths relative to `root`, so that a text is the same wherever the folder lies."""
        return LeftOut(self.path.relative_to(root), self.reason.replace(f"{root}/", ""))

    def __str__(self) -> str:
        return one_line(f"{self.path}: {self.reason}")


@dataclass(frozen=True)
class Collected:
    """What a results folder holds: `records` and their `paths`, in order of paths, and the files `left_out`.

    others: number of records of other protocols, where `collect` was asked for one.
    """

    records: list[Record] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    others: int = 0


def collect(root: Path, protocol: str | None = None) -> Collected:
    """The good records below `root`/records, and the others with the reason why they are left out.

    protocol: only records of this one; of every other record nothing is read but the name of its protocol. Of two files
    with the same cell, the one in its proper place is used and the other is left out.
    """
    checked: list[tuple[Path, Path, Record]] = []
    reasons: dict[Path, str] = {}
    copies: dict[Path, list[Path]] = defaultdict(list)
    others = 0
    for path in sorted((root / "records").rglob("*.json")):
        try:
            if path.name.endswith(".failed.json"):
                raise UserError("is not a result but the trace of a run that failed; run the cell again")
            record = parse_record(path)
            if protocol and _protocol_of(record) not in (None, protocol):
                others += 1
                continue
            check_record(record)
            if record["dataset"] not in TASKS:
                raise UserError(
                    f"its dataset {record['dataset']!r} is no task of this version; use the version that wrote it"
                )
            place = record_path(root, *(record[key] for key in ("backbone", "method", "dataset", "seed", "hash")))
        except UserError as error:
            reasons[path] = str(error)
        else:
            checked.append((path, place, record))
            copies[place].append(path)
    reasons |= {path: _misplaced(path, place, copies[place]) for path, place, _ in checked if path != place}
    return Collected(
        [record for path, place, record in checked if path == place],
        [path for path, place, _ in checked if path == place],
        [LeftOut(path, reasons[path]) for path in sorted(reasons)],
        others,
    )


def _protocol_of(record: Record) -> str | None:
    """The name of a record's protocol; None where the record does not say."""
    try:
        return str(record["protocol"]["name"])
    except (KeyError, TypeError):
        return None


def _misplaced(path: Path, place: Path, copies: list[Path]) -> str:
    """Why a good record that is not in its `place` is left out. copies: all files with the same cell."""
    if copies == [path]:
        return f"is not in its place, {place}; move it there, or delete it"
    if place in copies:
        return f"holds a cell that stands in two files; the one of {place} is used: delete one"
    other = next(copy for copy in copies if copy != path)
    return f"holds a cell that stands in two files; neither is in its place; so does {other}: delete one"
