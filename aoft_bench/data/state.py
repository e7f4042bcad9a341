"""The state of a task's data on this machine: cached, available, or missing, and what to do next."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from aoft_bench.data.cache import map_array
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import PreparedTask, cache_directories, source_of, stamp_of
from aoft_bench.data.resample import short_side_for_crop
from aoft_bench.data.sources.choose import PACKS, choose, place_of
from aoft_bench.data.tasks import Task
from aoft_bench.data.tfds import process
from aoft_bench.data.tfds.builders import facts
from aoft_bench.data.tfds.transfer_progress import amount
from aoft_bench.data.verify import check_files
from aoft_bench.utils.errors import UserError

READY, UNUSED, UNUSABLE = "ready (cached)", "cached, not in use", "unusable cache"


@dataclass(frozen=True)
class TaskState:
    """One cache of a task, or one way to get its images. origin: where they are or come from; todo: what to do next."""

    task: str
    state: str
    size: str
    origin: str
    todo: str


def states_of(
    task: Task, locations: Locations, image_size: int, interpolation: str, prepare_command: str
) -> list[TaskState]:
    """Each cache of a task; and how to prepare it, unless a run would use one of them.

    image_size, interpolation: the input of the model. prepare_command: the command line that is suggested.
    """
    source, problem = "", ""
    taken: tuple[Path, ...] = ()
    directories = caches_of(task, locations)
    try:
        source = source_of(task, locations, image_size, interpolation)
        if directories:  # else there is nothing to compare, and a large pack is not read for it
            taken = cache_directories(task, locations, stamp_of(task, locations, source), image_size, interpolation)
    except UserError as error:
        source, problem = "", str(error)
    found = [
        _cache_state(task, directory, source, problem, directory in taken, image_size, interpolation)
        for directory in directories
    ]
    if any(one.state == READY or (one.state == UNUSED and problem) for one in found):
        return found
    return [*found, _source_state(task, locations, source, problem, prepare_command)]


def caches_of(task: Task, locations: Locations) -> list[Path]:
    """The cache directories of a task, without those of interrupted preparations."""
    inside = locations.cache_of(task)
    try:
        return sorted(path for path in inside.iterdir() if path.is_dir() and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"cannot read {inside}: {error.strerror}; mend its permissions") from error


def megabytes(folder: Path) -> str:
    """The size of the files in a folder, as text."""
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:,.1f} MB"


def _cache_state(
    task: Task, directory: Path, source: str, problem: str, taken: bool, image_size: int, interpolation: str
) -> TaskState:
    """taken: whether the cache is named for what the source holds, and for this input or images of native size."""
    try:
        cached = PreparedTask.open(task, directory)
        check_files(directory, cached.meta)
        copies = cached.copies("train800val200", "test")
    except UserError as error:
        return TaskState(task.name, UNUSABLE, megabytes(directory), str(directory), str(error))
    size, origin = f"{megabytes(directory)}, {cached.size_text}", f"{cached.source_note}: {directory}"
    if not source:
        todo = problem
    elif cached.source != source:
        options = "data.source=tfds" if cached.source == "tfds" else "data.source=folder data.root=<its folder>"
        todo = f"a run takes another source now ({source}); {options} takes it"
    elif not _fits(cached, image_size, interpolation):
        todo = f"made for another input than {image_size} pixels, {interpolation}"
    elif not taken:
        todo = "made from other images than its source has now, or by an older version; a run prepares them again"
    else:
        todo = f"{copies:,} of {cached.sizes['test']:,} test images are training images too" if copies else ""
        return TaskState(task.name, READY, size, origin, todo)
    return TaskState(task.name, UNUSED, size, origin, todo)


def _fits(cached: PreparedTask, image_size: int, interpolation: str) -> bool:
    """Whether a run with this input would use the cache."""
    if cached.shape and cached.squashed_by is None:
        return max(cached.shape[:2]) <= image_size
    if cached.squashed_by != interpolation:
        return False
    if cached.shape:
        return cached.shape[0] == image_size
    sizes = map_array(cached.directory / "train800_sizes.npy")
    return bool(sizes[0].min() == short_side_for_crop(image_size))


def _source_state(task: Task, locations: Locations, source: str, problem: str, command: str) -> TaskState:
    """The source that a task without a usable cache can be prepared from."""
    if source == "embedded":
        return TaskState(task.name, "can be generated", "", "generator in aoft_bench", command)
    if source and source != "tfds":
        place = place_of(source, task, locations)
        what = "pack found" if source in PACKS else "images found"
        return TaskState(task.name, what, "", str(place or locations.hf), command)
    try:
        expected = source or choose(task, locations, False)
    except UserError:
        expected = ""
    if expected == "tfds":
        return _tfds_state(task, locations, command)
    return TaskState(task.name, "not here", "", "", problem)


def _tfds_state(task: Task, locations: Locations, command: str) -> TaskState:
    assert task.builder is not None
    prepared = process.prepared_folder(task, locations)
    if any(prepared.glob("*/dataset_info.json")):  # an interrupted preparation has none
        return TaskState(task.name, "prepared by TFDS, not cached", megabytes(prepared), str(prepared), command)
    builder = facts(task.builder)
    install = "" if importlib.util.find_spec("tensorflow") else f"{process.EXTRA}; "
    by_hand = f"by hand: {builder.manual}, where <manual_dir> is {locations.manual}; then: " if builder.manual else ""
    trouble = f" ({builder.trouble})" if builder.trouble else ""
    pack = f"; or a pack in {' or '.join(f'data/packs/{name}' for name in task.folders)}"
    return TaskState(
        task.name,
        "by hand" if builder.manual else "can be downloaded",
        ("" if builder.manual else f"download {amount(builder.download)}, ") + f"disk {amount(builder.disk)}",
        f"TFDS {task.builder}",
        f"{install}{by_hand}{command}{trouble}{pack}",
    )
