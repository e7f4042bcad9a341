"""ImageNet with four more test sets, V2, Sketch, A and R. Everything is checked before an image is decoded.

    <root>/imagenet/train/<wnid>/<image>, imagenet/val/<wnid>/<image>
    <root>/imagenetv2-matched-frequency-format-val/<0 to 999>/<image>
    <root>/sketch/<wnid>/<image>
    <root>/imagenet-a/<wnid>/<image>, imagenet-r/<wnid>/<image>     200 of the classes each

These are the folders that the archives unpack to; ImageNet's val has to be sorted into folders of classes. The folders
of CoOp's guide, which NOAH follows, are found too, see `PLACES`. ImageNet's val is the test split. Of its train the
images that train, and a val split, are drawn by the rules of `draw`, from the names alone: the others are not opened.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aoft_bench.data.draw import choose_images
from aoft_bench.data.imagenet_classes import imagenet_wnids, labels_of_folders
from aoft_bench.data.locations import Draw, Locations, find_pack
from aoft_bench.data.sources.base import Listed, Source
from aoft_bench.data.sources.image_folder import check_no_overlap, class_folders, images_below
from aoft_bench.data.sources.listing import ListedImages, Listing, check_name, file_state, stamp_images
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.errors import UserError, closest

# split -> where its folders of classes may be, the first of them as the archive unpacks
PLACES = {
    "train800": ("imagenet/train", "imagenet/images/train"),
    "test": ("imagenet/val", "imagenet/images/val"),
    "v2": (
        "imagenetv2-matched-frequency-format-val",
        "imagenetv2/imagenetv2-matched-frequency-format-val",
    ),
    "sketch": ("sketch", "imagenet-sketch/sketch", "imagenet-sketch/images"),
    "a": ("imagenet-a", "imagenet-adversarial/imagenet-a"),
    "r": ("imagenet-r", "imagenet-rendition/imagenet-r"),
}


def from_imagenet(task: Task, locations: Locations) -> Source:
    """The sets below `data.root`, cropped when they are used; raises `UserError` where one is missing or wrong."""
    root = find_pack(task, locations.root)
    return read_sets(task, root, locations.draw, locations.digests_of(task, root))


def read_sets(task: Task, root: Path, draw: Draw, memory: Path | None = None) -> Source:
    """The images that train by `draw`, and all of the test sets. memory: see `digests`."""
    if not draw.given:
        raise UserError(
            f"{task.name} is for few images of each class; give data.shots=16, as sweeps/domainshift.yaml does, or "
            f"data.train=N (dataset=folder trains on all images of an ImageFolder)"
        )
    folders = {split: _folder_of(root, split) for split in PLACES}
    listed = {split: _list(folder, split) for split, folder in folders.items()}
    wnids = imagenet_wnids()
    pool = hashlib.sha256("".join(f"{name}\n" for name in listed["train800"].names).encode()).hexdigest()
    of_imagenet = {split: listed[split] for split in ("train800", "test")}
    chosen = choose_images(of_imagenet, len(wnids), draw, wnids, pool)
    listings: dict[str, Listing] = {}
    for split in (*SPLITS, *task.shifts):
        members = chosen.members.get(split) or [(split, index) for index in range(len(listed[split].names))]
        folder = folders[members[0][0]].relative_to(root)
        files = tuple(str(folder / listed[of].names[index]) for of, index in members)
        labels = np.array([listed[of].labels[index] for of, index in members], np.int64)
        listings[split] = Listing(files, labels, files)
    states = [
        file_state(root / name, f"the image {root / name}", "not there", "file")
        for listing in listings.values()
        for name in listing.files
    ]
    check_no_overlap(root, listings, states)
    sizes = "".join(f"{split} {len(listing.files)}\n" for split, listing in listings.items())
    digest = hashlib.sha256((sizes + "".join(f"{wnid}\n" for wnid in wnids)).encode())
    digests = stamp_images(root, listings, states, digest, memory)
    found = ListedImages(root, root, listings, len(wnids), wnids, digest.hexdigest(), digests)
    reasons = ["folders of images: not verified against the published archives"]
    reasons += task.deviations(found.sizes, found.classes, found.untrained)
    note = f"ImageNet, V2, Sketch, A and R as folders; {', '.join(chosen.texts)}, seed {draw.seed}"
    return found.source("imagenet", note, "; ".join([*reasons, *chosen.texts]), cropped=True, drawn=chosen.about)


def _folder_of(root: Path, split: str) -> Path:
    found = next((root / place for place in PLACES[split] if (root / place).is_dir()), None)
    if found is None:
        raise UserError(
            f"{root} has no {PLACES[split][0]}; unpack it there ({' or '.join(PLACES[split])} is read), all five sets "
            f"are scored"
        )
    return found


def _list(folder: Path, split: str) -> Listed:
    """The images of a set by class, with names relative to its folder, so that what is drawn does not depend on where
    it lies. Raises `UserError` for a class folder that is missing, empty, or of no class."""
    labels = labels_of_folders("imagenet" if split in SPLITS else split)
    classes = class_folders(folder)
    _check_classes(folder, [path.name for path in classes], labels)
    names, numbers = [], []
    for path in classes:
        some = [str(image.relative_to(folder)) for image in images_below(path)]
        for name in some:
            if problem := check_name(name):
                raise UserError(f"the image {folder / name}: its name {problem}; rename the file")
        names += some
        numbers += [labels[path.name]] * len(some)
    return Listed(np.array(numbers, np.int64), names)


def _check_classes(folder: Path, found: list[str], labels: Mapping[str, int]) -> None:
    for name in found:
        if name not in labels:
            raise UserError(
                f"{folder / name} is named for no class of this set; its {len(labels):,} class folders are called as "
                f"{closest(name, labels)[0]}: rename it, or take it out"
            )
    if missing := sorted(labels.keys() - set(found)):
        raise UserError(
            f"{folder} lacks {len(missing):,} of its {len(labels):,} class folders, the first is {missing[0]}; unpack "
            f"it again"
        )
