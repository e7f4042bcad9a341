"""The records of a results folder that may be compared, and those left out with the reason.

A record is left out when `records.schema.check_record` refuses it, when its dataset is unknown, when it calls images
official that cannot be, or when its file is not where it belongs. It is named; it is never averaged.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from aoft_bench.data.tasks import SPLITS, TASKS, find
from aoft_bench.records.files import misplaced, parse_record, place_of, read_record
from aoft_bench.records.schema import AGAIN, Record, check_record
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import one_line, shown


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used, and why."""

    path: Path
    reason: str

    def below(self, root: Path) -> "LeftOut":
        """The same with paths relative to `root`, so that a text is the same wherever the folder lies."""
        path = self.path.relative_to(root) if self.path.is_relative_to(root) else self.path
        return LeftOut(path, self.reason.replace(f"{one_line(str(root))}/", ""))

    @property
    def name(self) -> str:
        """The path in a line of its own, whatever its name holds."""
        return one_line(self.path.as_posix())

    def __str__(self) -> str:
        return f"{self.name}: {one_line(self.reason)}"


@dataclass(frozen=True)
class Collected:
    """What a results folder holds: `records` and their `paths`, in order of paths, and the files `left_out`.

    others: number of records of other protocols, where `collect` was asked for one.
    """

    records: list[Record] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    others: int = 0


def collect(root: Path, protocol: str | None = None, folder: str = "records") -> Collected:
    """The good records below `root`/records, and the others with the reason why they are left out.

    folder: `STOPPED` for trials that `aoft-bench tune` stopped early, which are in no other. protocol: only records of
    this one; of every other record nothing is read but the name of its protocol. Of two files with the same cell, the
    one in its proper place is used and the other is left out.
    """
    checked: list[tuple[Path, Path, Record]] = []
    reasons: dict[Path, str] = {}
    copies: dict[Path, list[Path]] = defaultdict(list)
    others = 0
    for path in sorted((root / folder).rglob("*.json")):
        try:
            if path.name.endswith(".failed.json"):
                raise UserError(f"is not a result but the trace of a run that failed; {AGAIN}")
            record = parse_record(path)
            if protocol and _protocol_of(record) not in (None, protocol):
                others += 1
                continue
            check_record(record)
            _check_task(record)
            place = place_of(record, root)
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


def read_usable(path: Path, *, anywhere: bool) -> Record:
    """`records.files.read_record`, and what `collect` checks beside it. Raises `UserError`, which names the file."""
    record = read_record(path, anywhere=anywhere)
    try:
        _check_task(record)
    except UserError as error:
        raise UserError(f"{one_line(str(path))}: {error}") from None
    return record


def _check_task(record: Record) -> None:
    """Raise `UserError` for a dataset that is no task of this version, and for images that are called official but are
    not as many as the task has, or of a task without published splits."""
    task, images = find(record["dataset"]), record["data"]
    if record["dataset"] not in TASKS and not record["config"]["dataset"].get("own"):
        raise UserError(
            f"its dataset {shown(record['dataset'])} is no task of this version; use the version that wrote it"
        )
    if not images["official"]:
        return
    if task.builder is None:
        raise UserError(f"data.official is true, but {task.name} has no published splits; was it edited? {AGAIN}")
    sizes, classes = images.get("sizes"), images.get("classes")
    if not sizes or not classes:  # older records lack them
        return
    if found := task.deviations({split: sizes.get(split, 0) for split in SPLITS}, classes):
        raise UserError(f"data.official is true, but it has {'; '.join(found)}; was it edited? {AGAIN}")


def _protocol_of(record: Record) -> str | None:
    """The name of a record's protocol; None where the record does not say."""
    try:
        return str(record["protocol"]["name"])
    except (KeyError, TypeError):
        return None


def _misplaced(path: Path, place: Path, copies: list[Path]) -> str:
    """Why a good record that is not in its `place` is left out. copies: all files with the same cell."""
    if copies == [path]:
        return misplaced(place)
    if place in copies:
        return f"holds a cell that stands in two files; the one of {one_line(str(place))} is used: delete one"
    other = one_line(str(next(copy for copy in copies if copy != path)))
    return f"holds a cell that stands in two files; neither is in its place; so does {other}: delete one"
