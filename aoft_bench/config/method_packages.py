"""Installed packages that bring methods of their own, by the entry points of the group `aoft_bench.methods`.

    [project.entry-points."aoft_bench.methods"]
    gates = "gates_bench.gates"          # the module that registers the method

The files of the method (conf/method/gates.yaml, conf/hparams/gates/...) are in a folder conf beside that module.
Nothing of a package is imported here: that is done where methods are registered, and takes torch.
"""

import functools
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "aoft_bench.methods"


@functools.cache
def method_entry_points() -> tuple[EntryPoint, ...]:
    """The entry points of all installed packages, by name."""
    return tuple(sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)))


@functools.cache
def package_folders() -> tuple[Path, ...]:
    """The folders of the packages that hold the modules; those that are not found are left out."""
    return tuple(dict.fromkeys(folder for point in method_entry_points() for folder in _folder_of(point.module)))


def conf_folders() -> list[Path]:
    """The folders conf beside the modules."""
    return [folder / "conf" for folder in package_folders() if (folder / "conf").is_dir()]


def versions_of(module: str) -> dict[str, str | None]:
    """Name and version of the package that brings a module; empty for one of this project."""
    top = module.partition(".")[0]
    return {
        point.dist.name: point.dist.version
        for point in method_entry_points()
        if point.dist is not None and point.module.partition(".")[0] == top
    }


def _folder_of(module: str) -> Iterator[Path]:
    """The folder in which a module lies, or that is the module; a module outside any package has none."""
    top, *parts = module.split(".")
    spec = find_spec(top)
    for where in (spec.submodule_search_locations or [])[:1] if spec else []:
        folder = Path(where)
        for part in parts:
            folder = folder / part if (folder / part).is_dir() else folder
        yield folder
