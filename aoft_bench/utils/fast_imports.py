"""timm and Lightning without what they import of other libraries for the only reason that those are installed.

torchmetrics, which Lightning imports whole, takes scipy, matplotlib and transformers where it finds them, and timm
takes wandb: half of the time to a cell's first step, and nothing here uses it. Whoever imports those libraries by
themselves, before or after, has them as they are.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

_OF_TIMM = ("wandb",)
_OF_TORCHMETRICS = ("matplotlib", "scipy", "torchvision", "transformers")


def import_timm() -> Any:
    """timm."""
    with _hidden(_OF_TIMM):
        return importlib.import_module("timm")


def import_lightning() -> None:
    """Let `import pytorch_lightning` be quick from here on."""
    if "pytorch_lightning" not in sys.modules and "torchmetrics" not in sys.modules:
        with _hidden(_OF_TORCHMETRICS):
            importlib.import_module("pytorch_lightning")


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Let libraries that ask whether these are installed hear that they are not; those imported already stay."""
    hidden = [name for name in names if name not in sys.modules]
    checks: Any = importlib.import_module("lightning_utilities.core.imports")  # what torchmetrics asks, by version
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
