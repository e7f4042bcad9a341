"""Result records: one JSON file a cell, the only source of tables.

    <root>/records/<backbone>/<method>/<dataset>/seed<k>-<hash>.json            the record
    <root>/records/<backbone>/<method>/<dataset>/seed<k>-<hash>.safetensors     what was trained (git ignores it)
    <root>/records/<backbone>/<method>/<dataset>/seed<k>-<hash>.predictions.npz what it predicted (git ignores it)
    <root>/unfinished/<backbone>/<method>/<dataset>/seed<k>-<hash>.ckpt         while it trains: the last epoch
    <root>/unfinished/<backbone>/<method>/<dataset>/seed<k>-<hash>.lock         while a process runs it
    <root>/unfinished/<backbone>/<method>/<dataset>/seed<k>-<hash>.worker.json  which process that is
    <root>/stopped/<backbone>/<method>/<dataset>/seed<k>-<hash>.json            how far it was when `tune` stopped it
    <root>/failures/<backbone>/<method>/<dataset>/seed<k>-<hash>.json           why it failed, until it is done

The hash is over all that can change the number (`records.identity`), so a cell is done exactly if its record exists. A
record is written last and in one step, so it is whole.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from aoft_bench.records.schema import AGAIN, Record, check_record, is_stopped
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import read_regular, write_text_atomically
from aoft_bench.utils.text import is_one_line, one_line, shown

STOPPED = "stopped"  # beside records/: nothing that reads results looks there
LARGEST = 2**25  # bytes of a record; one of 100,000 epochs has 2 MB
# words as `shlex.join` writes them
_COMMAND = re.compile(r"""python -m aoft_bench(?: (?:[\w@%+=:,./-]+|'(?:[^']|'"'"')*'))*""", re.ASCII)


def record_path(root: Path, backbone: str, method: str, dataset: str, seed: int, digest: str) -> Path:
    """Where the record of a cell is kept."""
    for name in (backbone, method, dataset):
        if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,199}", name):
            raise UserError(
                f"got the name {shown(name)}; backbone.name and others become folders, use letters, digits, _ . + -, "
                "at most 200 and no dot first"
            )
    return root / "records" / backbone / method / dataset / f"seed{seed}-{digest}.json"


@dataclass(frozen=True)
class CellFiles:
    """Where everything of a cell is kept. worker: which process runs it, beside its lock; stopped: the record of a
    trial that was not trained to the end."""

    record: Path
    trained: Path
    predictions: Path
    checkpoint: Path
    lock: Path
    worker: Path
    failure: Path
    stopped: Path


def predictions_path(record: Path) -> Path:
    """The file of the predictions beside the record at `record`; see `records.predictions`."""
    return record.with_suffix(".predictions.npz")


def cell_files(root: Path, record: Path) -> CellFiles:
    """The files of the cell whose record is, or will be, `record` below `root`."""
    inside = record.relative_to(root / "records").with_suffix("")
    unfinished, failures = root / "unfinished" / inside, root / "failures" / inside
    return CellFiles(
        record=record,
        trained=record.with_suffix(".safetensors"),
        predictions=predictions_path(record),
        checkpoint=unfinished.with_suffix(".ckpt"),
        lock=unfinished.with_suffix(".lock"),
        worker=unfinished.with_suffix(".worker.json"),
        failure=failures.with_suffix(".json"),
        stopped=(root / STOPPED / inside).with_suffix(".json"),
    )


def write_record(path: Path, record: Record) -> None:
    """Write a record. Raises `UserError` for one that could not be read again, a full disk, or a read-only folder."""
    check_record(record)
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    _check_texts(text.encode("utf-8", "surrogatepass"), record)
    write_text_atomically(path, text)


def read_record(path: Path, *, anywhere: bool = False) -> Record:
    """The record of a cell, whole, checked and in its place. Every reader of one record uses this function.

    anywhere: the user has named this file, so its folders do not matter, but its name does. Raises `UserError`, which
    names the file, if there is none, if it cannot be read, for what `check_record` refuses, and if the record is that
    of another cell than its path says.
    """
    if not os.path.exists(path):
        raise UserError(
            f"no record {one_line(str(path))}; records are <results>/records/<backbone>/<method>/<dataset>/*.json"
        )
    try:
        record = parse_record(path)
        check_record(record)
        place = place_of(record, Path())
        if anywhere and is_stopped(record):
            raise UserError("is of a trial that aoft-bench tune stopped early, not a result; name a record of records/")
        parts = place.parts[-1:] if anywhere else place.parts
        if Path(os.path.abspath(path)).parts[-len(parts) :] != parts:
            raise UserError(misplaced(place))
    except UserError as error:
        raise UserError(f"{one_line(str(path))}: {error}") from None
    return record


def command_of(record: Record) -> str | None:
    """The command that makes a record again, if it is one of this package's that a shell takes word by word.

    People copy it into a shell, so nothing else may stand in its place.
    """
    command = record.get("command")
    return command if isinstance(command, str) and _COMMAND.fullmatch(command) else None


def parse_record(path: Path) -> Any:
    """The values in a record's file, not checked. Raises `UserError` if they cannot be read."""
    try:
        content = read_regular(path, LARGEST)
        # Python's own reader takes lone surrogates, NaN, and nesting without a limit, and is half as fast
        record = from_json(content, allow_inf_nan=False)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}; delete it") from None
    except ValueError as error:
        raise UserError(f"is not a whole record ({error}); {AGAIN}") from None
    _check_texts(content, record)
    return record


def place_of(record: Record, root: Path) -> Path:
    """Where a record belongs below the results folder `root`: in records/, or in stopped/ if a trial was stopped early.

    Raises `UserError` for names that can be no folders.
    """
    path = record_path(root, *(record[key] for key in ("backbone", "method", "dataset", "seed", "hash")))
    return cell_files(root, path).stopped if is_stopped(record) else path


def misplaced(place: Path) -> str:
    """Why a good record that is not in its `place` is refused."""
    return f"is not in its place, {one_line(str(place))}; move it there, or delete it"


def _check_texts(content: bytes, record: Any) -> None:
    """Raise `UserError` if a text or a name in `record`, which is `content` in JSON, is not one line of printable text.

    Tables, files of settings and terminals show them as they are.
    """
    if content.isascii() and b"\\" not in content and b"\x7f" not in content:
        return  # nearly always, since JSON escapes all others; to look at each text takes as long as all other checks
    for one in _texts(record):
        if not is_one_line(one):
            raise UserError(f"holds {shown(one)}, which is not one line of text; was it edited? {AGAIN}")


def _texts(record: Any) -> Iterator[str]:
    """Every text and every name in nested dictionaries and lists."""
    todo = [record]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            todo += value
            todo += value.values()
        elif isinstance(value, list):
            todo += value
