"""Completes the backbone of a run: its name, and what its weights themselves say of size and interpolation."""

import functools
from collections.abc import Mapping
from typing import Any

import yaml

from aoft_bench.backbones.weights import check_name
from aoft_bench.config.folders import conf_dir
from aoft_bench.config.schema import BackboneOptions
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.fast_imports import import_timm

INTERPOLATIONS = ("bicubic", "bilinear")  # of timm's, those that `data` knows


def completed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of a run, as it is composed, with a backbone that is named for its network.

    A name that is null, or that belongs to a file of conf/backbone with another network, becomes the name in timm;
    random weights add _random to it. A size of null and the interpolation `backbone` become those that the weights were
    trained with. Raises `UserError` where timm does not know them.
    """
    backbone, data = tree.get("backbone"), tree.get("data")
    if not isinstance(backbone, Mapping) or not isinstance(data, Mapping):
        return dict(tree)  # what is wrong with it is said where it is checked
    backbone, data = dict(backbone), dict(data)
    name, timm_name = backbone.get("name"), backbone.get("timm")
    if timm_name is None and "timm" in backbone:
        raise UserError(
            "backbone.timm is missing: give the network and the tag of its weights, as in backbone=timm "
            "backbone.timm=vit_small_patch16_224.augreg_in21k"
        )
    if not isinstance(timm_name, str):
        return dict(tree)
    if name is None or (isinstance(name, str) and _network_of(name) not in (None, timm_name)):
        backbone["name"] = timm_name
    if backbone.get("weights") == "none" and not str(backbone["name"]).endswith("_random"):
        backbone["name"] = f"{backbone['name']}_random"
    if backbone.get("img_size", 0) is None or data.get("interpolation") == "backbone":
        size, interpolation = _own(timm_name, bool(backbone.get("checkpoint")), backbone.get("weights") == "none")
        if backbone.get("img_size", 0) is None:
            backbone["img_size"] = size
        if data.get("interpolation") == "backbone":
            data["interpolation"] = interpolation
    return {**tree, "backbone": backbone, "data": data}


@functools.cache
def _network_of(name: str) -> str | None:
    """The network of conf/backbone/<name>.yaml; None if there is no such file, or it names none."""
    path = conf_dir() / "backbone" / f"{name}.yaml"
    if "/" in name or not path.is_file():
        return None
    found = yaml.safe_load(path.read_text(encoding="utf-8")).get("timm")
    return found if isinstance(found, str) else None


@functools.cache
def _own(timm_name: str, has_file: bool, random: bool) -> tuple[int, str]:
    """(size, interpolation) of the weights' own configuration in timm."""
    if timm_name == "vit_nano":
        return 32, "bicubic"
    weights = "none" if random else "pretrained"
    check_name(BackboneOptions("", timm_name, "FILE" if has_file else None, 224, weights=weights))  # type: ignore[arg-type]
    config = import_timm().get_pretrained_cfg(timm_name)
    size, interpolation = getattr(config, "input_size", None), getattr(config, "interpolation", None)
    if not size or size[1] != size[2]:
        raise UserError(f"backbone.img_size: timm says {size} for {timm_name}, which is no square; give the side")
    if interpolation not in INTERPOLATIONS:
        raise UserError(
            f"data.interpolation: timm says {interpolation!r} for {timm_name}; give one of {', '.join(INTERPOLATIONS)}"
        )
    return int(size[1]), str(interpolation)
