"""Tasks that need no download: their images are in `embedded_images`."""

import ast
import hashlib
from functools import cache
from pathlib import Path

from aoft_bench.data.locations import Locations
from aoft_bench.data.sources.base import Example, Shape, Source
from aoft_bench.data.sources.embedded_images import LOADERS
from aoft_bench.data.tasks import Task
from aoft_bench.records.code_version import version_of


def from_embedded(task: Task, locations: Locations) -> Source:
    """One of the generators of `embedded_images.LOADERS`; needs no files."""
    # the drawn images may change with the code and with NumPy's generators, the digits with scikit-learn
    parts = [_images_code(), task.name, *(version_of(package) or "" for package in ("numpy", "scikit-learn"))]
    splits = cache(LOADERS[task.name])

    def native_shape(limit: int) -> Shape | None:
        height, width, channels = splits()["train800"].images.shape[1:]
        return (height, width, channels) if max(height, width) <= limit else None

    def read(split: str, index: int) -> Example:
        images, labels = splits()[split]
        return Example(images[index], int(labels[index]), "")

    return Source(
        kind="embedded",
        note=f"embedded generator {task.name}",
        official=False,
        official_note="embedded task: there is no published split",
        classes=task.classes,
        class_names=None,
        stamp=hashlib.sha256("\0".join(parts).encode()).hexdigest(),
        sizes=task.sizes,
        native_shape=native_shape,
        channels=lambda: splits()["train800"].images.shape[-1],
        read=read,
    )


@cache
def _images_code() -> str:
    """The code of `embedded_images` without comments and docstrings, which change no image."""
    tree = ast.parse(Path(__file__).with_name("embedded_images.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)
