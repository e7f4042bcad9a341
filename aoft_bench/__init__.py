"""aoft_bench: compare ways to fine-tune vision transformers, fairly.

    import aoft_bench
    model = aoft_bench.load_backbone("vit_nano", num_classes=10)
    handle = aoft_bench.attach(model, "aoft", rank=8)
    handle.trainable_parameters(head=False)

These names are imported when they are first used, so that importing the package takes no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aoft_bench import backbones, data, methods
    from aoft_bench.backbones.networks import load_backbone
    from aoft_bench.methods import Handle, attach

__version__ = "0.2.0"
__all__ = ["Handle", "__version__", "attach", "backbones", "data", "load_backbone", "methods"]

_MODULES = ("backbones", "data", "methods")
_NAMES = {"attach": "methods", "Handle": "methods", "load_backbone": "backbones.networks"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"aoft_bench.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"aoft_bench.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'aoft_bench' has no attribute {name!r}; it has {', '.join(__all__)}")
