"""The process that prepares a task from TensorFlow Datasets; started by `process`."""

import json
import sys
from pathlib import Path
from typing import Any

from aoft_bench.data.locations import Locations
from aoft_bench.data.packs.write import write_pack
from aoft_bench.data.prepared_task import fill
from aoft_bench.data.tasks import Task
from aoft_bench.data.tfds.source import from_tfds
from aoft_bench.utils.errors import UserError


def main() -> int:
    """Read a request from standard input and answer {"problem": null or a line} on standard output.

    Exit code 0, 2 for a problem, 130 for Ctrl-C.
    """
    answer, sys.stdout = sys.stdout, sys.stderr  # keeps the libraries' output out of the answer
    request = json.load(sys.stdin)
    problem = None
    try:
        _prepare(request)
    except UserError as error:
        problem = str(error)
    except KeyboardInterrupt:
        return 130
    json.dump({"problem": problem}, answer)
    return 2 if problem else 0


def _prepare(request: dict[str, Any]) -> None:
    given = request["locations"]
    tfds_dir, manual_dir = (Path(given[name]) if given[name] else None for name in ("tfds_dir", "manual_dir"))
    locations = Locations(Path(given["cache"]), None, given["source"], tfds_dir, manual_dir)
    task = Task(**request["task"] | {name: tuple(request["task"][name]) for name in ("folders", "sources")})
    source = from_tfds(task, locations)
    ready = fill(task, source, locations, request["image_size"], request["interpolation"])
    if request["pack"]:
        write_pack(ready, source.read, Path(request["pack"]))


if __name__ == "__main__":
    sys.exit(main())
