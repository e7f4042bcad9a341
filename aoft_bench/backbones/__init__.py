"""Pre-trained networks, and where their parts are."""

from aoft_bench.backbones.networks import (
    NANO,
    NANO_WEIGHTS,
    Backbone,
    build,
    file_sha256,
    hub_file,
    load_backbone,
    read_options,
    weight_file,
    weights_here,
    weights_name,
)

__all__ = [
    "NANO",
    "NANO_WEIGHTS",
    "Backbone",
    "build",
    "file_sha256",
    "hub_file",
    "load_backbone",
    "read_options",
    "weight_file",
    "weights_here",
    "weights_name",
]
