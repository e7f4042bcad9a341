"""Pre-trained networks: `networks` builds them, `weights` finds their files, `layout` knows where their parts are.

torch is imported when a network is built, or by `layout`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from aoft_bench.backbones.weights import file_sha256, hub_file, weight_file, weights_here, weights_name

if TYPE_CHECKING:
    from aoft_bench.backbones.networks import Backbone, build, load_backbone

_OF_NETWORKS = ("Backbone", "build", "load_backbone")
__all__ = [
    "Backbone",
    "build",
    "file_sha256",
    "hub_file",
    "load_backbone",
    "weight_file",
    "weights_here",
    "weights_name",
]


def __getattr__(name: str) -> Any:
    if name in _OF_NETWORKS:
        return getattr(importlib.import_module("aoft_bench.backbones.networks"), name)
    raise AttributeError(f"module 'aoft_bench.backbones' has no attribute {name!r}")
