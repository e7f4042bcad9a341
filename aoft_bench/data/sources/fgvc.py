"""The fine-grained sets as VPT's json files list them. Everything is checked before an image is decoded.

    <root>/train.json, val.json, test.json      {"<image>": <class id>, ...}
    <root>/images/<image>                       cub, nabirds; or
    <root>/Images/<image>                       dogs; or
    <root>/<image>                              cars, flowers

Each set may have any of the three layouts. The class ids may have gaps (NABirds'), and a split may lack some of them:
the label of an id is its index in the sorted ids of ALL splits. Public loaders number the ids of each split separately;
in NABirds' val a label then names another class than in its train split.
"""

import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from aoft_bench.data.locations import JSON_LAYOUT, JSON_LISTS, Locations, find_pack
from aoft_bench.data.sources.base import Source
from aoft_bench.data.sources.listing import (
    ListedImages,
    Listing,
    check_name,
    file_state,
    read_list,
    relative,
    shortened,
    stamp_images,
)
from aoft_bench.data.tasks import Task
from aoft_bench.utils.errors import UserError

_FOLDERS = ("images", "Images", "")


def from_json(task: Task, locations: Locations) -> Source:
    """A set with json splits, cropped when it is used; raises `UserError` where it is missing or wrong."""
    root = find_pack(task, locations.root)
    found = read_set(task, root, locations.digests_of(task, root))
    return found.source("json", f"json splits of {found.root.resolve().name}", note(task, found), cropped=True)


def note(task: Task, found: ListedImages) -> str:
    """Why the set does not count as the official one, for the record: VPT's lists have no published checksums."""
    reasons = ["json splits: not verified against VPT's files"]
    return "; ".join(reasons + task.deviations(found.sizes, found.classes, found.untrained))


def read_set(task: Task, root: Path, memory: Path | None = None) -> ListedImages:
    """Read and check the json files in `root`, and that every image is there; no image is decoded.

    memory: where the digests of the images are remembered, see `digests`. The splits get the names of `SPLITS`. Other
    counts than the task's are no error, see `note`. Raises `UserError` that names the file, the entry and the remedy.
    """
    digest = hashlib.sha256()
    entries = {split: _read_json(task, root / name, digest) for split, name in JSON_LISTS.items()}
    _check_no_overlap(root, entries)
    class_ids = sorted({class_id for part in entries.values() for _, class_id in part})
    label = {class_id: index for index, class_id in enumerate(class_ids)}
    listings = {
        split: Listing(
            tuple(name for name, _ in part),
            np.array([label[class_id] for _, class_id in part], dtype=np.int64),
            tuple(_entry(JSON_LISTS[split], name) for name, _ in part),
        )
        for split, part in entries.items()
    }
    folder = _find_images(root, listings["train800"].files[0])
    states = [
        file_state(folder / name, f"{_entry(root / JSON_LISTS[split], name)}: the image", f"not in {folder}", "entry")
        for split, listing in listings.items()
        for name in listing.files
    ]
    digests = stamp_images(folder, listings, states, digest, memory)
    return ListedImages(root, folder, listings, len(class_ids), None, digest.hexdigest(), digests)


def _read_json(task: Task, path: Path, digest: "hashlib._Hash") -> list[tuple[str, int]]:
    """(image, class id) of one json file, in its order."""
    if not path.is_file():
        raise UserError(f"{path.parent} has no {path.name}; the folder of {task.name} holds {JSON_LAYOUT}")
    content = read_list(path, digest, "set")
    try:
        entries = json.loads(content, object_pairs_hook=lambda pairs: _unique(path, pairs))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not json ({error}); restore VPT's file") from error
    if not isinstance(entries, dict):
        raise UserError(f"{path} holds {_value(entries)}; write an object {{'<image>': <class id>, ...}}")
    if not entries:
        raise UserError(f"{path} lists no images; write an object {{'<image>': <class id>, ...}}")
    return [(_relative(path, name), _class_id(path, name, value)) for name, value in entries.items()]


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json.loads alone keeps the last of two equal names silently
    entries = dict(pairs)
    if len(entries) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise UserError(f"{path} lists {shortened(repr(twice))} twice; keep one of the two")
    return entries


def _relative(path: Path, name: str) -> str:
    if problem := check_name(name):
        raise UserError(f"{_entry(path, name)}: the name {problem}; rename the file")
    file = relative(name)
    if file is None:
        raise UserError(f"{_entry(path, name)} points outside the set; write paths relative to the folder of images")
    return file


def _class_id(path: Path, name: str, value: object) -> int:
    """The id of an entry: an integer, or a string of digits."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{_entry(path, name)}: the class id {_value(value)} is not an integer; write one, such as 7")
    if value < 0:
        raise UserError(f"{_entry(path, name)}: the class id {_value(value)} is negative; write 0 or more")
    return value


def _check_no_overlap(root: Path, entries: dict[str, list[tuple[str, int]]]) -> None:
    seen: dict[str, str] = {}
    for split, part in entries.items():
        for name, _ in part:
            if name in seen:
                where = f"{seen[name]} and {JSON_LISTS[split]}"
                raise UserError(
                    f"{root}: the image {shortened(repr(name))} is listed twice, in {where}; keep one of the two"
                )
            seen[name] = JSON_LISTS[split]


def _find_images(root: Path, first: str) -> Path:
    """The folder that holds the first listed image: images/, Images/ or the root."""
    for folder in _FOLDERS:
        if os.path.isfile(root / folder / first):
            return root / folder
    tried = ", ".join(str(root / folder) for folder in _FOLDERS)
    raise UserError(
        f"{_entry(root / 'train.json', first)} is in none of the folders {tried}; put the images into one of them"
    )


def _entry(path: Path | str, name: str) -> str:
    return f"{path} entry {shortened(repr(name))}"


def _value(value: object) -> str:
    return shortened(json.dumps(value))  # as in the file: true, null
