"""A dataset of Hugging Face's library `datasets`, on disk (`save_to_disk`) or by its name on the hub.

The image is the only feature of the kind Image. The label is the column data.label, or `label`, or the only ClassLabel.
Splits are called train, validation and test; what is missing is drawn, other splits are not read.
"""

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aoft_bench.data.digests import digests_of
from aoft_bench.data.locations import Locations
from aoft_bench.data.sources.base import Source
from aoft_bench.data.sources.columns import SPLIT_NAMES, no_column, numbered, split_listings, split_of
from aoft_bench.data.sources.listing import ListedImages, check_trained
from aoft_bench.data.tasks import Task
from aoft_bench.utils.errors import UserError, message_of

EXTRA = "pip install -e '.[hf]' in the checkout, or pip install datasets"


def from_hf(task: Task, locations: Locations) -> Source:
    """The dataset `data.hf` of the hub, or that in the folder `data.root`; raises `UserError` where it is missing or
    wrong."""
    require()
    if locations.hf:
        name, splits = locations.hf, _from_hub(locations.hf)
        memory = locations.digests_of(task, Path(name))
    else:
        root = locations.own_root(task, folder=True)
        name, splits = root.resolve().name, _from_disk(root)
        memory = locations.digests_of(task, root)
    found = read_dataset(name, splits, locations.label, memory)
    return found.source("hf", f"Hugging Face dataset {name}", "images of the user's own, in a Hugging Face dataset")


def holds(root: Path) -> bool:
    """Whether `root` is a folder that `save_to_disk` has written."""
    return any((root / name).is_file() for name in ("dataset_dict.json", "state.json"))


def require() -> None:
    """Raise `UserError` where the library is not installed."""
    if importlib.util.find_spec("datasets") is None:
        raise UserError(f"data.source=hf needs the library datasets, which is not installed; {EXTRA}")


def _from_hub(text: str) -> Mapping[str, Any]:
    import datasets

    name, _, config = text.partition(":")
    try:
        return datasets.load_dataset(name, config or None)  # type: ignore[no-any-return]
    except Exception as error:  # of the library, of the hub, of the network, of a file
        reason = message_of(error)
        raise UserError(
            f"cannot load the dataset data.hf={text}: {reason}; check the name (NAME or NAME:CONFIG) and the network, "
            f"or save it by save_to_disk where there is one and give data.source=hf data.root=<folder>"
        ) from error


def _from_disk(root: Path) -> Mapping[str, Any]:
    import datasets

    if not holds(root):
        raise UserError(
            f"data.root={root} is no dataset of Hugging Face: it has no dataset_dict.json and no state.json; give a "
            f"folder that save_to_disk has written, or data.hf=NAME of the hub"
        )
    try:
        found = datasets.load_from_disk(str(root))
    except Exception as error:  # whatever a damaged file leads to
        reason = message_of(error)
        raise UserError(f"cannot read the dataset {root}: {reason}; save it again by save_to_disk") from error
    return found if isinstance(found, dict) else {"train": found}


def read_dataset(
    name: str, given: Mapping[str, Any], label: str | None = None, memory: Path | None = None
) -> ListedImages:
    """The images and labels of the splits of a dataset, checked; no image is decoded.

    given: the splits, as `datasets.DatasetDict` holds them; label: the name of the column; memory: where the digests of
    the files are remembered, see `digests`.
    """
    import datasets

    where = f"the dataset {name}"
    splits: dict[str, Any] = {}
    for own, part in given.items():
        if (split := split_of(str(own))) and split in splits:
            raise UserError(f"{where} has two splits of the kind {own}; keep one of the two")
        if split and len(part):
            splits[split] = part
    if "train800" not in splits:
        names = ", ".join(f"{one[0]}" for one in SPLIT_NAMES.values())
        raise UserError(f"{where} has the splits {', '.join(map(str, given))}, none is train; name them {names}")
    splits = {split: splits[split] for split in SPLIT_NAMES if split in splits}
    features = splits["train800"].features
    image, label = _image_of(where, features), _label_of(where, features, label)
    for split, part in splits.items():
        if any(part.features.get(column) != features[column] for column in (image, label)):
            raise UserError(f"{where}: {split} has other features than train; give all splits the same ones")
        splits[split] = part.cast_column(image, datasets.Image(decode=False))
    values = [value for part in splits.values() for value in part[label]]
    owners = [(split, index) for split, part in splits.items() for index in range(len(part))]
    of_class = getattr(features[label], "names", None)
    labels, class_names = numbered(values, lambda index: _entry(name, *owners[index]))
    class_names = tuple(of_class) if of_class else class_names
    classes = len(class_names) if class_names else 1 + int(labels.max())
    files = [f"{split}/{index}" for split, index in owners]
    listings = split_listings(files, labels, [_entry(name, *own) for own in owners], [split for split, _ in owners])
    check_trained(where, "its splits train and validation", classes, listings, class_names)
    sizes = {split: len(part) for split, part in splits.items()}
    digest = hashlib.sha256(json.dumps([image, label, class_names, sizes]).encode())
    digest.update(labels.tobytes())
    content = _contents(splits, image, name)
    _stamp(splits, image, digest, memory, content)
    return ListedImages(Path(name), Path(name), listings, classes, class_names, digest.hexdigest(), {}, content)


def _entry(name: str, split: str, index: int) -> str:
    return f"{name} {SPLIT_NAMES[split][0]} row {index}"


def _image_of(where: str, features: Mapping[str, Any]) -> str:
    import datasets

    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(images) != 1:
        listed = ", ".join(features)
        raise UserError(f"{where} has {len(images)} columns of the kind Image, one is needed; its columns: {listed}")
    return images[0]


def _label_of(where: str, features: Mapping[str, Any], label: str | None) -> str:
    import datasets

    of_classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    wanted = label or ("label" if "label" in features or len(of_classes) != 1 else of_classes[0])
    if wanted not in features:
        raise no_column(where, wanted, list(features), "name the column of the labels by data.label=<column>")
    return wanted


def _contents(splits: Mapping[str, Any], image: str, name: str) -> Callable[[str, int], bytes]:
    def content(split: str, index: int) -> bytes:
        value = splits[split][index][image]
        if value is None or not (value["bytes"] or value["path"]):
            raise UserError(f"{_entry(name, split, index)}: the image is empty; give one, or take the row out")
        try:
            return value["bytes"] or Path(value["path"]).read_bytes()
        except OSError as error:
            raise UserError(
                f"{_entry(name, split, index)}: cannot read {value['path']}: {error.strerror}; restore it"
            ) from error

    return content


def _stamp(
    splits: Mapping[str, Any],
    image: str,
    digest: "hashlib._Hash",
    memory: Path | None,
    content: Callable[[str, int], bytes],
) -> None:
    """Add the content of the images to `digest`: by the files of the dataset, where all images are in these."""
    files = [Path(file["filename"]) for part in splits.values() for file in part.cache_files]
    inside = all(part.cache_files and _all_inside(part, image) for part in splits.values())
    if inside:
        for sha256 in digests_of(files, [os.stat(file) for file in files], memory, "the dataset"):
            digest.update(sha256.encode())
        return
    for split, part in splits.items():
        for index in range(len(part)):
            digest.update(hashlib.sha256(content(split, index)).digest())


def _all_inside(part: Any, image: str) -> bool:
    """Whether the bytes of all images of a split are in the dataset, and none is a path alone."""
    batches = part.select_columns([image]).with_format("arrow").iter(batch_size=1000)
    return not any(batch[image].chunk(0).field("bytes").null_count if len(batch) else 0 for batch in batches)
