"""An ImageFolder, as torchvision calls it: a folder for each class. Everything is checked before an image is decoded.

    <root>/train/<class>/<image>       also in folders below <class>; val/ and test/ are optional
    <root>/<class>/<image>             without train/: every image may train, and splits are drawn

Classes are the names of the folders, in sorted order; files are taken by their suffix, also in sorted order. Hidden
files, and files of other suffixes, are left out.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from aoft_bench.data.decode import IMAGE_SUFFIXES, is_image
from aoft_bench.data.locations import Locations
from aoft_bench.data.sources.base import Source
from aoft_bench.data.sources.columns import SPLIT_NAMES, split_of
from aoft_bench.data.sources.listing import (
    ListedImages,
    Listing,
    check_name,
    check_trained,
    file_state,
    shortened,
    stamp_images,
)
from aoft_bench.data.tasks import Task
from aoft_bench.utils.errors import UserError


def from_image_folder(task: Task, locations: Locations) -> Source:
    """The images below `data.root`; raises `UserError` where a folder or a file is wrong."""
    root = locations.own_root(task, folder=True)
    found = read_folders(root, locations.digests_of(task, root))
    suffixes = sorted({Path(name).suffix.lower() for one in found.listings.values() for name in one.files})
    note = f"ImageFolder {root.resolve().name}, images {' '.join(suffixes)}"
    return found.source("image_folder", note, "images of the user's own, in a folder for each class")


def holds(root: Path) -> bool:
    """Whether `root` is a folder with one of the splits, or with folders in which images lie."""
    folders = _folders(root) if root.is_dir() else []
    return any(split_of(folder.name) or any(map(is_image, os.listdir(folder))) for folder in folders)


def read_folders(root: Path, memory: Path | None = None) -> ListedImages:
    """Every image below `root` with its class, and that each file is there; no image is decoded.

    memory: where the digests of the images are remembered, see `digests`. Raises `UserError` that names the folder or
    the file, and the remedy.
    """
    classes = {split: class_folders(folder) for split, folder in _split_folders(root).items()}
    names = sorted({folder.name for folders in classes.values() for folder in folders})
    for name in names:
        if problem := check_name(name):
            raise UserError(f"{root}: the name of the class folder {shortened(repr(name))} {problem}; rename it")
    label = {name: index for index, name in enumerate(names)}
    listings: dict[str, Listing] = {}
    for split, folders in classes.items():
        images = [
            (str(path.relative_to(root)), label[folder.name]) for folder in folders for path in images_below(folder)
        ]
        files, labels = zip(*images, strict=True)
        for name in files:
            if problem := check_name(name):
                raise UserError(f"the image {root / name}: its name {problem}; rename the file")
        listings[split] = Listing(files, np.array(labels, np.int64), files)
    check_trained(f"the ImageFolder {root}", "its folders of training images", len(names), listings, names)
    states = [
        file_state(root / name, f"the image {root / name}", "not there", "file")
        for listing in listings.values()
        for name in listing.files
    ]
    check_no_overlap(root, listings, states)
    digest = hashlib.sha256("".join(f"{name}\n" for name in names).encode())
    digests = stamp_images(root, listings, states, digest, memory)
    return ListedImages(root, root, listings, len(names), tuple(names), digest.hexdigest(), digests)


def _split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split that there is; the root itself is the training split where there is no train/."""
    try:
        folders = _folders(root)
    except OSError as error:
        raise UserError(f"cannot read {root}: {error.strerror}; mend its permissions") from error
    found: dict[str, Path] = {}
    for folder in folders:
        split = split_of(folder.name)
        if split and split in found:
            raise UserError(f"{root} has both {found[split].name}/ and {folder.name}/; keep one of the two")
        if split:
            found[split] = folder
    if not found:
        return {"train800": root}
    if "train800" not in found:
        (other, *_) = found.values()
        raise UserError(f"{root} has {other.name}/ and no train/; add it, or rename {other.name}/ if it is a class")
    return {split: found[split] for split in SPLIT_NAMES if split in found}


def class_folders(folder: Path) -> list[Path]:
    """The class folders of a split, at least one, with nothing between them that looks like an image."""
    stray = next((name for name in sorted(os.listdir(folder)) if is_image(name)), None)
    if stray and (folder / stray).is_file():
        raise UserError(f"{folder / stray} is in no class folder; move it to {folder}/<class>/, or take it out")
    classes = _folders(folder)
    if not classes:
        raise UserError(f"{folder} has no class folders; put the images of each class into {folder}/<class>/")
    return classes


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def images_below(folder: Path) -> list[Path]:
    """The images of a class, at least one, sorted."""
    found = sorted(_walk(folder))
    if not found:
        raise UserError(
            f"the class folder {folder} has no image ({' '.join(IMAGE_SUFFIXES)}); add some, or remove the folder"
        )
    return found


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; mend its permissions") from error

    for inside, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = (name for name in folders if not name.startswith("."))
        yield from (Path(inside) / name for name in names if is_image(name))


def check_no_overlap(root: Path, listings: Mapping[str, Listing], states: list[os.stat_result]) -> None:
    """Raise `UserError` for one file in two splits, by links. Equal copies are counted, not refused, as in all data."""
    seen: dict[tuple[int, int], tuple[str, str]] = {}
    each = iter(states)
    for split, listing in listings.items():
        for name in listing.files:
            state = next(each)
            first, other = seen.setdefault((state.st_dev, state.st_ino), (split, name))
            if first != split:
                raise UserError(
                    f"{root}: {other} and {name} are one file in two splits; keep one of the two, or leave a split out "
                    f"to have it drawn"
                )
