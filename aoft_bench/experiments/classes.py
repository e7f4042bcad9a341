"""Classes without a training image, where a method chooses what it trains by the images of each class."""

import sys

from aoft_bench.data.prepared_task import PreparedTask
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import shown

FEW_IMAGES = 10  # for each class, on average: with fewer some classes may have none by chance


def check_classes(prepared: PreparedTask, split: str, method: str, label: str) -> None:
    """Raise `UserError`, which names `method`, if a class has no image in the training split.

    In a benchmark of few images for many classes, such as VTAB's 1,000 of SUN397's 397, this is no mistake: it is said
    in a line with the `label` of the cell, and the choice rests on the other classes, as in the authors' codes.
    """
    labels, classes = prepared.train(split).labels, range(prepared.classes)
    empty = sorted(set(classes) - set(labels.tolist()))
    if not empty:
        return
    name = f" ({shown(prepared.class_names[empty[0]])})" if prepared.class_names else ""
    found = f"{len(empty)} of {len(classes)} classes have no image in {split}, the first is class {empty[0]}{name}"
    if prepared.task.suite == "own" or len(labels) >= FEW_IMAGES * len(classes):
        raise UserError(
            f"{method} chooses what it trains by the training images of each class, but {found}; add images of it, or "
            "leave the class out of the data"
        )
    print(f"aoft_bench: {label}: {found}; {method} chooses by the others", file=sys.stderr, flush=True)
