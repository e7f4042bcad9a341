"""Where the images of a task may come from, which source that means, and where they are kept once prepared."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aoft_bench.data.sources import folder
from aoft_bench.data.tasks import Task
from aoft_bench.utils.errors import UserError

if TYPE_CHECKING:
    from aoft_bench.config.schema import DataOptions


@dataclass(frozen=True)
class Locations:
    """The folders of a machine, None for the usual ones.

    cache: prepared arrays; root: a pack (or a set with FGVC's json files), or a folder of them, else `data/packs` and
    `$AOFT_BENCH_DATA` are searched; source: auto, folder or tfds, see `choose`; tfds_dir: that of TensorFlow Datasets,
    else `$TFDS_DATA_DIR` or `~/tensorflow_datasets`; manual_dir: archives got by hand, else
    `<tfds_dir>/downloads/manual`.
    """

    cache: Path
    root: Path | None = None
    source: str = "auto"
    tfds_dir: Path | None = None
    manual_dir: Path | None = None

    @classmethod
    def of(cls, options: "DataOptions") -> "Locations":
        """The folders that the section `data` of a configuration names."""
        folders = (options.root, options.tfds_dir, options.manual_dir)
        root, tfds_dir, manual_dir = (Path(folder) if folder else None for folder in folders)
        return cls(Path(options.cache), root, options.source, tfds_dir, manual_dir)

    @property
    def tfds(self) -> Path:
        given = self.tfds_dir or Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
        return given.expanduser()

    @property
    def manual(self) -> Path:
        return self.manual_dir.expanduser() if self.manual_dir else self.tfds / "downloads" / "manual"

    def cache_of(self, task: Task) -> Path:
        """The folder with the prepared arrays of a task."""
        return self.cache.expanduser() / task.name


def choose(task: Task, locations: Locations, cached_from_tfds: bool) -> str:
    """The kind of source a task comes from here: embedded, json (FGVC), folder or tfds.

    Raises `UserError` where `auto` finds both a pack and originals already prepared: they are not interchangeable (a
    pack is a lossy copy), so the user has to say which; and where source and root contradict each other.
    """
    if locations.source == "tfds":
        _check_tfds(task, locations)
        return "tfds"
    if task.suite == "embedded":
        return "embedded"
    if task.suite == "fgvc":
        return "json"
    if locations.source == "folder" or locations.root is not None or task.builder is None:
        return "folder"
    pack = folder.default_pack(task)
    if pack and cached_from_tfds:
        raise UserError(
            f"two sources of {task.name} are here, the folder pack {pack} and the originals prepared from TFDS, and "
            f"their numbers differ; choose one with data.source=folder or data.source=tfds"
        )
    return "folder" if pack else "tfds"


def _check_tfds(task: Task, locations: Locations) -> None:
    if task.builder is None:
        raise UserError(
            f"{task.name}: data.source=tfds is for VTAB-1k, it does not come from TensorFlow Datasets; "
            f"leave data.source at auto"
        )
    if locations.root is not None:
        raise UserError(
            f"data.source=tfds and data.root={locations.root} contradict each other; data.root is for folder packs, "
            f"data.tfds_dir for TensorFlow Datasets"
        )
