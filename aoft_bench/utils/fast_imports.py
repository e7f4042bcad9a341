"""Import torch, timm and Lightning fast: without the garbage collector, and without optional dependencies.

torchmetrics, which Lightning imports, imports scipy, matplotlib, torchvision and transformers where they are installed;
timm imports wandb. None of them is used by this package, and they took half of the time to a run's first training step.
They can be imported as usual before and after.
"""

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

_LARGE = {"torch", "pytorch_lightning"}


@contextmanager
def uncollected(*, keep: bool = False) -> Iterator[None]:
    """Within it no garbage is collected: the collector would look through all modules imported so far, many times.

    keep: if torch or Lightning were imported within, leave all objects that there are out of later collections too.
    For a process of our own that has not trained yet: what is garbage then stays, and a model could be among it.
    """
    enabled, imported = gc.isenabled(), _LARGE & sys.modules.keys()
    gc.disable()
    try:
        yield
    finally:
        if keep and _LARGE & sys.modules.keys() > imported:
            gc.freeze()
        if enabled:
            gc.enable()


def import_timm() -> Any:
    """Import timm without wandb and return it."""
    with uncollected(), _hidden("wandb"):
        return importlib.import_module("timm")


def import_lightning() -> None:
    """Import Lightning without torchmetrics' optional dependencies, so that a later import statement costs nothing."""
    if "pytorch_lightning" not in sys.modules and "torchmetrics" not in sys.modules:
        with uncollected(), _hidden("matplotlib", "scipy", "torchvision", "transformers"):
            importlib.import_module("pytorch_lightning")


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Make these packages look as if they were not installed, except those that are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    # torchmetrics asks this module for the versions of its optional dependencies
    checks: Any = importlib.import_module("lightning_utilities.core.imports")
    real = getattr(checks, "_version", None)

    def version(name: str) -> str:
        if name in hidden:
            raise metadata.PackageNotFoundError(name)
        return metadata.version(name)

    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    if real:
        checks._version = version
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if real:
            checks._version = real
