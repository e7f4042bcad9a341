"""Start the process that prepares a task from TensorFlow Datasets; `child` is its code.

A separate process, so that training never imports TensorFlow or TFDS, TensorFlow uses no GPU, and its memory is freed.
The request is written to its standard input, the answer is read from its standard output (both JSON). Progress goes to
standard error.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from aoft_bench.data.digests import digests_of
from aoft_bench.data.locations import LAYOUT, Locations
from aoft_bench.data.tasks import Task
from aoft_bench.data.tfds.builders import builder_name, facts
from aoft_bench.utils.errors import UserError

_RULES = 1  # raise it when the same TFDS data gives other images or labels
EXTRA = "pip install -e '.[tensorflow]' in the checkout"


def stamp(task: Task) -> str:
    """Identifies the content of a task's cache from TFDS: builder, slices and label map. Needs no TFDS."""
    slices = sorted((task.slices or {}).items())
    return hashlib.sha256(json.dumps([_RULES, task.builder, slices, task.label_map]).encode()).hexdigest()


def prepared_folder(task: Task, locations: Locations) -> Path:
    """Where TFDS keeps the prepared examples of a task's builder."""
    assert task.builder is not None
    return locations.tfds / builder_name(task.builder)


def content(task: Task, locations: Locations, version: str) -> str | None:
    """The version and a digest of the files that TFDS keeps of a task's builder; None where there are none.

    Files are read once and their digests remembered, see `digests`. Raises `UserError` for files that cannot be read.
    """
    folder = prepared_folder(task, locations) / version
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
        memory = locations.digests_of(task, folder)
        found = digests_of(files, [path.stat() for path in files], memory, f"what TFDS prepared of {task.name}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read the examples in {folder}: {error.strerror}; mend its permissions") from error
    listed = "".join(f"{path.name}\0{digest}\n" for path, digest in zip(files, found, strict=True))
    return f"{version} {hashlib.sha256(listed.encode()).hexdigest()}"


def require(task: Task, locations: Locations) -> None:
    """Raise `UserError` where a task cannot be prepared from TFDS on this machine, with the ways to get its images."""
    assert task.builder is not None
    pack = f"a folder pack under data/packs or data.root=<folder> ({LAYOUT})"
    if locations.source == "auto" and task.suite == "vtab1k":
        pack += f"; public, lossy copy: aoft-bench prepare dataset={task.name} fetch=public"
    prepared = prepared_folder(task, locations).is_dir()
    if not prepared and not importlib.util.find_spec("tensorflow"):
        raise UserError(
            f"no data for {task.name}: preparing the originals needs TensorFlow, once and for preparing only; "
            f"{EXTRA}, then run again. Or give {pack}"
        )
    builder = facts(task.builder)
    archives = locations.manual.is_dir() and any(locations.manual.iterdir())
    if builder.manual and not archives and not prepared:
        raise UserError(
            f"no data for {task.name}: it cannot be downloaded by a program. By hand: {builder.manual}, where "
            f"<manual_dir> is {locations.manual} (data.manual_dir). Or give {pack}"
        )


def run(task: Task, locations: Locations, image_size: int, interpolation: str, pack: Path | None = None) -> None:
    """Prepare a task from TFDS into the cache, in a new process, and export its images to the folder `pack` if given.

    Raises `UserError` with the problem of that process.
    """
    request = {
        "task": dataclasses.asdict(dataclasses.replace(task, sizes=dict(task.sizes), slices=dict(task.slices or {}))),
        "locations": {name: str(value) if value else None for name, value in dataclasses.asdict(locations).items()},
        "image_size": image_size,
        "interpolation": interpolation,
        "pack": str(pack) if pack else None,
    }
    quiet = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    with tempfile.TemporaryDirectory(prefix="aoft_bench-") as scratch:  # TFDS leaves folders in it
        process = subprocess.Popen(
            [sys.executable, "-m", "aoft_bench.data.tfds.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | quiet | {"TMPDIR": scratch},
        )
        try:
            answer, _ = process.communicate(json.dumps(request))
        except BaseException:
            process.terminate()
            process.wait()
            raise
    problem = json.loads(answer)["problem"] if answer else f"the preparing process ended with code {process.returncode}"
    if problem and process.returncode < 0:
        problem = f"the preparing process was killed by signal {-process.returncode} (out of memory, perhaps)"
    if problem and not answer:
        problem = f"{task.name}: {problem}; what it printed stands above; running the command again goes on from there"
    if problem:
        raise UserError(problem)
