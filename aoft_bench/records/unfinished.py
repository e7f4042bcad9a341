"""Cells that are not done: which process runs one, why one failed, and what a killed process left behind."""

import contextlib
import datetime
import json
import os
import platform
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic_core import from_json

from aoft_bench.records.code_version import code_digest, git_state, version_of
from aoft_bench.records.files import LARGEST, CellFiles, cell_files
from aoft_bench.records.schema import SCHEMA
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import read_regular, write_text_atomically
from aoft_bench.utils.locks import claim, is_held

State = Literal["done", "running", "stopped", "failed", "missing"]


def state_of(files: CellFiles) -> State:
    """The state of a cell, from its files: "stopped" is one that goes on from its last epoch."""
    if files.record.is_file():
        return "done"
    if is_held(files.lock):
        return "running"
    if files.failure.is_file():
        return "failed"
    return "stopped" if files.checkpoint.is_file() else "missing"


@contextlib.contextmanager
def worker_noted(path: Path) -> Iterator[None]:
    """While a cell runs, say in `path` which process runs it, with which code."""
    worker = {
        "host": platform.node(),
        "pid": os.getpid(),
        "since": _now(),
        "version": version_of("aoft_bench"),
        "code": code_digest(),
    }
    write_text_atomically(path, json.dumps(worker) + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def refuse_other_code(root: Path) -> None:
    """Raise `UserError` if a process with other code runs a cell of this results folder now.

    Records of two versions side by side would look like one experiment. What a killed process left is no hindrance.
    """
    for path in sorted((root / "unfinished").rglob("*.worker.json")):
        worker = read_notes(path)
        if not worker or worker.get("code") == code_digest():
            continue
        if is_held(path.with_name(path.name.removesuffix(".worker.json") + ".lock")):
            raise UserError(
                f"another version of the code writes to {root}: process {worker.get('pid')} on {worker.get('host')} "
                f"runs {worker.get('version')} ({worker.get('code')}), this is {version_of('aoft_bench')} "
                f"({code_digest()}); let it end, or give another folder by results.root=DIR"
            )


def remove_leftovers(files: CellFiles) -> None:
    """Remove what a process that was killed while it wrote a file of this cell left. The cell must be claimed."""
    for path in (
        *(files.record, files.trained, files.predictions, files.checkpoint),
        *(files.worker, files.failure, files.stopped),
    ):
        for partial in path.parent.glob(f"{path.name}.*.partial"):
            partial.unlink(missing_ok=True)


def remove_finished(root: Path) -> None:
    """Remove what is left of cells whose record exists: a process was killed after it wrote that.

    A checkpoint that is newer than the record stays: it is of a run with results.mode=force.
    """
    unfinished = root / "unfinished"
    cells = {path.with_name(path.name.partition(".")[0]) for path in unfinished.rglob("seed*.*")}
    for cell in sorted(cells):
        files = cell_files(root, root / "records" / cell.relative_to(unfinished).with_suffix(".json"))
        with contextlib.suppress(OSError, UserError):  # a folder that may only be read
            if files.record.is_file() and not _is_newer(files.checkpoint, files.record):
                with claim(files.lock, cell.name, wait=False) as claimed:
                    if claimed:
                        remove_leftovers(files)
                        remove_unfinished(files)


def remove_unfinished(files: CellFiles) -> None:
    """Remove what a cell leaves beside its record, its lock last. The cell must be claimed, and done."""
    for path in (files.worker, files.checkpoint, files.failure, files.stopped, files.lock):
        with contextlib.suppress(OSError):
            path.unlink()


def _is_newer(path: Path, other: Path) -> bool:
    return path.is_file() and path.stat().st_mtime_ns > other.stat().st_mtime_ns


def note_failure(path: Path, label: str, command: str, config: dict[str, Any], error: Exception) -> None:
    """Leave a record of a failure: what was asked for, the error, its traceback, the code. Never raises."""
    failure = {
        "schema": SCHEMA,
        "label": label,
        "command": command,
        "failed": _now(),
        "error": f"{type(error).__name__}: {error}",
        "explained": isinstance(error, UserError),
        "traceback": "".join(traceback.format_exception(error)),
        "version": version_of("aoft_bench"),
        "git": git_state(),
        "config": config,
    }
    # a full disk may be the failure itself; the error that is raised matters more
    with contextlib.suppress(UserError, OSError):
        write_text_atomically(path, json.dumps(failure, indent=1, ensure_ascii=False, default=str) + "\n")


def read_notes(path: Path) -> dict[str, Any] | None:
    """What `worker_noted` or `note_failure` wrote; None if there is nothing, or nothing whole."""
    try:
        found = from_json(read_regular(path, LARGEST))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
