"""Which source a task is read from, and how each source is opened. A new source is one file and one entry here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from aoft_bench.data.locations import Locations, default_pack
from aoft_bench.data.sources.base import Source
from aoft_bench.data.sources.embedded import from_embedded
from aoft_bench.data.sources.fgvc import from_json
from aoft_bench.data.sources.folder import from_folder
from aoft_bench.data.tasks import Task
from aoft_bench.utils.errors import UserError


def _from_tfds(task: Task, locations: Locations) -> Source:
    from aoft_bench.data.tfds.source import from_tfds  # imports a downloader, needed in the preparing process only

    return from_tfds(task, locations)


# name -> how to open it; each raises `UserError` where its data is missing or wrong
SOURCES: Mapping[str, Callable[[Task, Locations], Source]] = MappingProxyType(
    {"embedded": from_embedded, "folder": from_folder, "json": from_json, "tfds": _from_tfds}
)


def choose(task: Task, locations: Locations, cached_from_tfds: bool) -> str:
    """The name of the source that a task is read from.

    The first of `task.sources`, unless the task has both a folder and TFDS: then `locations` decide. Raises `UserError`
    where `auto` finds both a pack and originals that are prepared already (a pack is a lossy copy, so the user has to
    choose), where source and root contradict each other, and for an option that cannot act.
    """
    if locations.source == "tfds":
        if "tfds" not in task.sources:
            raise UserError(
                f"{task.name}: data.source=tfds is for VTAB-1k, it does not come from TensorFlow Datasets; "
                f"leave data.source at auto"
            )
        if locations.root is not None:
            raise UserError(
                f"data.source=tfds and data.root={locations.root} contradict each other; data.root is for folder "
                f"packs, data.tfds_dir for TensorFlow Datasets"
            )
        return "tfds"
    if "embedded" in task.sources:
        _refuse_places(task, locations)
    if "tfds" not in task.sources or locations.source == "folder" or locations.root is not None:
        return task.sources[0]
    pack = default_pack(task)
    if pack and cached_from_tfds:
        raise UserError(
            f"two sources of {task.name} are here, the folder pack {pack} and the originals prepared from TFDS, and "
            f"their numbers differ; choose one with data.source=folder or data.source=tfds"
        )
    return task.sources[0] if pack else "tfds"


def _refuse_places(task: Task, locations: Locations) -> None:
    """Raise `UserError` for a place that a generated task would not read."""
    given = {
        "source": None if locations.source == "auto" else locations.source,
        "root": locations.root,
        "tfds_dir": locations.tfds_dir,
        "manual_dir": locations.manual_dir,
    }
    for name, value in given.items():
        if value is not None:
            raise UserError(
                f"{task.name} is generated and reads no files: data.{name}={value} cannot act; leave it out, or "
                f"choose another dataset"
            )
