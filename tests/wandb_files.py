"""Reading W&B's offline files back: LevelDB's log format, whose records are W&B's own protocol buffers."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class WandbRun:
    """What one file says. rows: of the history, in order; summary: its last values; kinds: of all records, in order."""

    id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    sweep: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    kinds: list[str] = field(default_factory=list)

    def metrics(self) -> list[dict[str, Any]]:
        """The rows without what W&B adds to them, but for the step."""
        return [{k: v for k, v in row.items() if k not in ("_timestamp", "_runtime")} for row in self.rows]


def offline_folders(root: Path) -> list[Path]:
    """Folders of offline runs below `logger.dir`, the oldest first."""
    return sorted((root / "wandb").glob("offline-run-*"))


def read_run(folder: Path) -> WandbRun:
    """The run in a folder `offline-run-<time>-<id>`."""
    import wandb

    wandb.teardown()  # its own process writes the file, and may still be at it
    (path,) = folder.glob("*.wandb")
    run = WandbRun()
    for record in _records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        run.kinds.append(kind)
        if kind == "run":
            run.id, run.name, run.group = record.run.run_id, record.run.display_name, record.run.run_group
            run.job_type, run.project, run.tags = record.run.job_type, record.run.project, list(record.run.tags)
            run.sweep = record.run.sweep_id
            run.config |= _values(record.run.config.update)
        elif kind == "config":
            run.config |= _values(record.config.update)
        elif kind == "history":
            run.rows.append(_values(record.history.item))
        elif kind == "summary":
            run.summary |= _values(record.summary.update)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    assert content.startswith(b":W&B")
    message, at = b"", 7
    while at + 7 <= len(content):
        if -at % 32768 < 7:  # no header begins in the last bytes of a block
            at += -at % 32768
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        message, at = message + content[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(message)
            message = b""
