"""What can change a cell's number, and the hash over it that names the record."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from aoft_bench.config.schema import warmup_epochs


def identity(config: Mapping[str, Any], *, fingerprint: str, weights: str, precision: str) -> dict[str, Any]:
    """All that can change the number of a cell: no paths, names of rows, logger, device or number of threads.

    config: plain values, as `RunConfig.as_dict` gives them and a record stores them. It leaves out options that were
    added later and are at their default, so that older records keep their hash. fingerprint: digest of the data;
    weights: SHA-256 of the backbone's file. Raises `KeyError` or `TypeError` where `config` lacks a part.
    """
    recipe, added = config["recipe"], ("pos_embed_resize", "pool")
    return {
        "dataset": config["dataset"]["name"],
        "fingerprint": fingerprint,
        "interpolation": config["data"]["interpolation"],
        "normalization": config["data"]["normalization"],
        "img_size": config["backbone"]["img_size"],
        "timm": config["backbone"]["timm"],
        **{name: value for name, value in config["backbone"].items() if name in added},
        "weights": weights,
        "method": {name: value for name, value in config["method"].items() if name != "label"},
        "recipe": {**recipe, "warmup_epochs": warmup_epochs(recipe["epochs"], recipe["warmup_epochs"])},
        "protocol": config["protocol"]["name"],
        "seed": config["seed"],
        "precision": precision,
        # with `shots` train800 alone trains, whatever the protocol: images of one fingerprint then give another number
        **({"shots": shots} if (shots := config["data"].get("shots")) else {}),
    }


def cell_hash(identity: Mapping[str, Any]) -> str:
    """Ten hex digits over an identity, whatever the order of its keys."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def record_hash(record: Mapping[str, Any]) -> str:
    """The hash that a record must have, from its own configuration, data, weights and precision."""
    return cell_hash(
        identity(
            record["config"],
            fingerprint=record["data"]["fingerprint"],
            weights=record["weights"]["sha256"],
            precision=record["precision"],
        )
    )
