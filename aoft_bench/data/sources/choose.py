"""Which source a task is read from, and how each source is opened. A new source is one file and one entry here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from aoft_bench.data.draw import complete
from aoft_bench.data.locations import OWN_LAYOUTS, Locations, default_pack, find_pack
from aoft_bench.data.sources import folder, hf, image_folder, table
from aoft_bench.data.sources.base import Source
from aoft_bench.data.sources.embedded import from_embedded
from aoft_bench.data.sources.fgvc import from_json
from aoft_bench.data.sources.folder import from_folder
from aoft_bench.data.sources.hf import from_hf
from aoft_bench.data.sources.image_folder import from_image_folder
from aoft_bench.data.sources.imagenet import from_imagenet
from aoft_bench.data.sources.table import from_table
from aoft_bench.data.tasks import OWN_SOURCES, Task
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import user_path


def _from_tfds(task: Task, locations: Locations) -> Source:
    from aoft_bench.data.tfds.source import from_tfds  # imports a downloader, needed in the preparing process only

    return from_tfds(task, locations)


# name -> how to open it; each raises `UserError` where its data is missing or wrong
SOURCES: Mapping[str, Callable[[Task, Locations], Source]] = MappingProxyType(
    {
        "embedded": from_embedded,
        "folder": from_folder,
        "json": from_json,
        "imagenet": from_imagenet,
        "tfds": _from_tfds,
        "image_folder": from_image_folder,
        "table": from_table,
        "hf": from_hf,
    }
)
PACKS = ("folder", "json", "imagenet")  # those that are looked for in the usual places too
# of images of the user's own: whether a place looks like what the source reads, in the order in which they are asked
_HOLDS: Mapping[str, Callable[[Path], bool]] = MappingProxyType(
    {"folder": folder.holds, "hf": hf.holds, "table": table.holds, "image_folder": image_folder.holds}
)


def open_source(kind: str, task: Task, locations: Locations) -> Source:
    """The source of this name with its three splits and the images that are wanted, see `draw.complete`."""
    return complete(SOURCES[kind](task, locations), locations.draw)


def choose(task: Task, locations: Locations, cached_from_tfds: bool) -> str:
    """The name of the source that a task is read from.

    The first of `task.sources`, unless the task has both a folder and TFDS: then `locations` decide. Raises `UserError`
    where `auto` finds both a pack and originals that are prepared already (a pack is a lossy copy, so the user has to
    choose), where source and root contradict each other, and for an option that cannot act. For images of the user's
    own the layout of the place decides.
    """
    if task.suite == "own":
        kind = _of_own(task, locations)
        if locations.label and kind not in ("table", "hf"):
            raise UserError(
                f"data.label={locations.label} names a column, and data.root={locations.root} has none; leave it out"
            )
        return kind
    _refuse_own(task, locations)
    kind = _of_table(task, locations, cached_from_tfds)
    if kind in ("embedded", "tfds") and locations.draw.given:
        raise UserError(
            f"{task.name} has fixed splits, of which {locations.draw.given} cannot draw; leave it out, or export the "
            f"images and give the pack by dataset=folder"
        )
    return kind


def place_of(kind: str, task: Task, locations: Locations) -> Path | None:
    """Where a source that reads files has them; None for what is generated, downloaded, or TFDS's.

    Raises `UserError` where they are missing.
    """
    if kind in PACKS:
        return find_pack(task, locations.root)
    if kind == "hf":
        hf.require()
    if kind in ("image_folder", "table") or (kind == "hf" and not locations.hf):
        return locations.own_root(task, folder=kind != "table")
    return None


def _not_of_tfds(task: Task) -> UserError:
    return UserError(
        f"{task.name}: data.source=tfds is for the tasks of VTAB-1k and their full training sets; leave it at auto"
    )


def _of_table(task: Task, locations: Locations, cached_from_tfds: bool) -> str:
    """`choose` for a task of the table."""
    if locations.source == "tfds":
        if "tfds" not in task.sources:
            raise _not_of_tfds(task)
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


def _of_own(task: Task, locations: Locations) -> str:
    """The name of the source of images of the user's own: that which is asked for, else by what is there."""
    if locations.hf:
        if locations.source not in ("auto", "hf"):
            raise UserError(
                f"data.hf={locations.hf} and data.source={locations.source} contradict each other; leave one out"
            )
        if locations.root is not None:
            raise UserError(
                f"data.hf={locations.hf} and data.root={locations.root} contradict each other; a dataset comes from "
                f"the hub or from a folder"
            )
        return "hf"
    if locations.source in OWN_SOURCES:
        if locations.source == "hf" and locations.root is None:
            raise UserError("data.source=hf needs data.hf=NAME of the hub, or data.root=<folder of save_to_disk>")
        return locations.source
    if locations.source == "tfds":
        raise _not_of_tfds(task)
    if locations.root is None:
        raise UserError(f"dataset={task.name} needs data.root=<place of your images>: {OWN_LAYOUTS}")
    root = user_path(locations.root, "data.root")
    for kind, holds in _HOLDS.items():
        if holds(root):
            return kind
    what = "is none of these" if root.exists() else "does not exist"
    raise UserError(f"data.root={root} {what}; give {OWN_LAYOUTS}")


def _refuse_own(task: Task, locations: Locations) -> None:
    """Raise `UserError` for what is for images of the user's own only."""
    given = {"hf": locations.hf, "label": locations.label}
    given["source"] = locations.source if locations.source in OWN_SOURCES[1:] else None
    for name, value in given.items():
        if value is not None:
            raise UserError(
                f"data.{name}={value} is for images of your own, which {task.name} is not; give dataset=folder, and "
                f"dataset.name=<a name> for them"
            )
