"""Result records: one JSON file a cell, the only source of tables.

    <root>/records/<backbone>/<method>/<dataset>/seed<k>-<hash>.json            the record
    <root>/records/<backbone>/<method>/<dataset>/seed<k>-<hash>.safetensors     what was trained (not committed)
    <root>/unfinished/<backbone>/<method>/<dataset>/seed<k>-<hash>.ckpt         while it trains: the last epoch
    <root>/unfinished/<backbone>/<method>/<dataset>/seed<k>-<hash>.lock         while a process runs it
    <root>/failures/<backbone>/<method>/<dataset>/seed<k>-<hash>.json           why it failed, until it is done

The hash is over all that can change the number (`records.identity`), so a cell is done exactly if its record exists. A
record is written last and in one step, so it is whole.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aoft_bench.records.schema import Record, check_record
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_text_atomically
from aoft_bench.utils.text import is_one_line

# words as `shlex.join` writes them
_COMMAND = re.compile(r"""python -m aoft_bench(?: (?:[\w@%+=:,./-]+|'(?:[^']|'"'"')*'))*""", re.ASCII)


def record_path(root: Path, backbone: str, method: str, dataset: str, seed: int, digest: str) -> Path:
    """Where the record of a cell is kept."""
    for name in (backbone, method, dataset):
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name) or name.startswith("."):
            raise UserError(
                f"got the name {name!r}; backbone.name and others become folders, use letters, digits, _ . + -"
            )
    return root / "records" / backbone / method / dataset / f"seed{seed}-{digest}.json"


@dataclass(frozen=True)
class CellFiles:
    """Where everything of a cell is kept. worker: which process runs it, beside its lock."""

    record: Path
    trained: Path
    checkpoint: Path
    lock: Path
    worker: Path
    failure: Path


def cell_files(root: Path, record: Path) -> CellFiles:
    """The files of the cell whose record is, or will be, `record` below `root`."""
    inside = record.relative_to(root / "records").with_suffix("")
    unfinished, failures = root / "unfinished" / inside, root / "failures" / inside
    return CellFiles(
        record=record,
        trained=record.with_suffix(".safetensors"),
        checkpoint=unfinished.with_suffix(".ckpt"),
        lock=unfinished.with_suffix(".lock"),
        worker=unfinished.with_suffix(".worker.json"),
        failure=failures.with_suffix(".json"),
    )


def write_record(path: Path, record: Record) -> None:
    """Write a record. Raises `UserError` for one that could not be read again, a full disk, or a read-only folder."""
    check_record(record)
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    _check_texts(text, record)
    write_text_atomically(path, text)


def read_record(path: Path) -> Record:
    """A record, checked by `check_record`. Raises `UserError` that names the file, if it cannot be read or is wrong."""
    if not path.is_file():
        raise UserError(f"no record {path}; records are <results>/records/<backbone>/<method>/<dataset>/*.json")
    try:
        record = parse_record(path)
        check_record(record)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
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
        text = path.read_text(encoding="utf-8")
        record = json.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(f"is not a whole record ({error}); delete it and run the cell again") from None
    _check_texts(text, record)
    return record


def _check_texts(text: str, record: Any) -> None:
    """Raise `UserError` if a text or a name in `record`, which is `text` in JSON, is not one line of printable text.

    Tables, files of settings and terminals show them as they are.
    """
    if text.isascii() and "\\" not in text and "\x7f" not in text:
        return  # nearly always, since JSON escapes all others; to look at each text takes as long as all other checks
    for one in _texts(record):
        if not is_one_line(one):
            raise UserError(f"holds {one[:80]!a}, which is not one line of text; was it edited? run the cell again")


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
