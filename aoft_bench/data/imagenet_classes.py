"""The classes of ImageNet and of the test sets that go with it, read from the lists in timm's package.

A class is named by its wnid, as the folders of the sets are. Its label is its place among the 1,000 in the order of
their wnids, as for every network of timm. Held by hand against the lists of NOAH (ZhangYuanhan-AI/NOAH,
data/domain-generalization): the labels of all images of Sketch, A and R are the same there.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from aoft_bench.utils.errors import UserError

# test set -> the list of its classes; those of V2 are numbered, its folders are called 0 to 999
_LISTS = {
    "imagenet": "imagenet_synsets.txt",
    "sketch": "imagenet_synsets.txt",
    "a": "imagenet_a_synsets.txt",
    "r": "imagenet_r_synsets.txt",
}


def imagenet_wnids() -> tuple[str, ...]:
    """The wnids of the 1,000 classes, in the order of the labels."""
    return _read(_LISTS["imagenet"])


def labels_of_folders(images: str) -> Mapping[str, int]:
    """The name of each class folder of a set, and its label. images: imagenet, v2, sketch, a or r."""
    label = {wnid: index for index, wnid in enumerate(imagenet_wnids())}
    if images == "v2":
        return {str(index): index for index in range(len(label))}
    return {wnid: label[wnid] for wnid in _read(_LISTS[images])}


def _read(name: str) -> tuple[str, ...]:
    found = importlib.util.find_spec("timm")  # timm is not imported for it, which takes seconds
    path = Path(found.origin if found and found.origin else "timm").parent / "data" / "_info" / name
    try:
        return tuple(path.read_text(encoding="utf-8").split())
    except OSError as error:
        raise UserError(
            f"timm's list of ImageNet classes {path} cannot be read ({error.strerror}); install timm again"
        ) from error
