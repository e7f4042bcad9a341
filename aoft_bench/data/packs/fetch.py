"""Fetch what is public of a task: the pack of VTAB-1k, and the json files that list FGVC's images.

Both are single zip files in datasets of the Hugging Face hub, whose library keeps them in its cache. What a task needs
is unpacked beside the other packs, completely or not at all.
"""

import shutil
import uuid
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from aoft_bench.data.locations import JSON_LISTS, default_pack
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import user_path

PACKS = Path("data/packs")


class _Archive(NamedTuple):
    """A zip file of a dataset of the hub. lists: files that the folder of a task has in it; size: what it takes."""

    repository: str
    file: str
    lists: tuple[str, ...]
    size: str


_ARCHIVES = {
    "vtab1k": _Archive("XiN0919/VTAB-1k", "vtab-1k.zip", tuple(f"{split}.txt" for split in SPLITS), "4.7 GB"),
    "fgvc": _Archive("XiN0919/FGVC", "json.zip", tuple(JSON_LISTS.values()), "some MB"),
}


def fetch(task: Task, root: Path | None = None) -> Path:
    """Make sure that the pack of a task, or its json files, are in `root` or data/packs; returns the task's folder.

    Nothing is downloaded or overwritten where its lists are there. FGVC's images have to be there already: their
    authors give them out. Raises `UserError` where there is nothing public, no network, or no images; it says what to
    do by hand.
    """
    if task.suite not in _ARCHIVES:
        raise UserError(
            f"fetch=public: there is no public pack of {task.name}; allowed: the tasks of {' and '.join(_ARCHIVES)}"
        )
    archive = _ARCHIVES[task.suite]
    above = user_path(root, "data.root") if root else PACKS
    target = next((above / name for name in task.folders if (above / name).is_dir()), above / task.folders[0])
    if root is None and (found := default_pack(task)):
        target = found
    if all((target / name).is_file() for name in archive.lists):
        return target
    if task.suite == "fgvc" and not target.is_dir():
        raise UserError(
            f"fetch=public fetches the json files of {task.name}, and its images are not here; unpack the archive of "
            f"their authors as {target}, and run again"
        )
    path = _download(task, archive, target)
    try:
        with zipfile.ZipFile(path) as content:
            _unpack(task, archive, content, target)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        # what the hub's cache shows is a link; without it alone, the same bytes would be linked again
        raise UserError(f"{path.resolve()} is no whole zip file ({error}); delete it and run again") from error
    except OSError as error:
        raise UserError(
            f"cannot unpack {archive.file} to {target}: {error.strerror}; free some space, or mend the permissions"
        ) from error
    return target


def _download(task: Task, archive: _Archive, target: Path) -> Path:
    from aoft_bench.utils import hub  # imports the hub's library

    lists = ", ".join(archive.lists)
    file = hub.HubFile(
        archive.repository,
        archive.file,
        f"the files of {archive.file}",
        f"download {archive.file} ({archive.size}) of the dataset {archive.repository} by hand, and put the folder "
        f"with {lists} of {task.name} here as {target}",
        kind="dataset",
    )
    return hub.cached(file) or hub.download(file)


def _unpack(task: Task, archive: _Archive, content: zipfile.ZipFile, target: Path) -> None:
    """The files of the task's folder, to a hidden folder that is renamed, or beside the images that are there."""
    names = content.namelist()
    inside = _folder_of(task, archive, names)
    wanted = [name for name in names if PurePosixPath(name).is_relative_to(inside) and not name.endswith("/")]
    if target.is_dir():  # images are there, which are not touched
        wanted = [name for name in wanted if str(PurePosixPath(name).relative_to(inside)) in archive.lists]
    partial = target.with_name(f".{target.name}-{uuid.uuid4().hex}.partial")
    try:
        for name in wanted:
            to = partial / PurePosixPath(name).relative_to(inside)
            if ".." in to.parts:
                raise UserError(f"{archive.file} holds {name!r}, which points outside its folder; it was not unpacked")
            to.parent.mkdir(parents=True, exist_ok=True)
            with content.open(name) as source, to.open("wb") as file:
                shutil.copyfileobj(source, file)
        if not target.is_dir():
            partial.rename(target)
            return
        for name in archive.lists:
            (partial / name).rename(target / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _folder_of(task: Task, archive: _Archive, names: Sequence[str]) -> PurePosixPath:
    """The folder in the archive that has the lists of the task and one of its names."""
    folders = {PurePosixPath(name).parent for name in names if name.endswith(f"/{archive.lists[0]}")}
    whole = [folder for folder in sorted(folders) if all(str(folder / name) in names for name in archive.lists)]
    wanted = {name.lower() for name in task.folders}
    found = next((folder for folder in whole if folder.name.lower() in wanted), None)
    if found is None:
        listed = ", ".join(folder.name for folder in whole) or "none"
        raise UserError(
            f"{archive.file} has no folder {' or '.join(task.folders)} with {', '.join(archive.lists)}; those in it: "
            f"{listed}; unpack it by hand"
        )
    return found
