"""`aoft-bench list [methods|datasets|backbones]`: what there is, with parameter counts and sources."""

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table

from aoft_bench.cli import ArgumentParser
from aoft_bench.utils.errors import unknown

KINDS = ("methods", "datasets", "backbones")


def main(arguments: Sequence[str]) -> int:
    """Print the lists that are asked for; all of them by default."""
    parser = ArgumentParser("list")
    parser.add_argument("kinds", nargs="*", metavar="|".join(KINDS), help="default: all of them")
    kinds = parser.parse_args(arguments).kinds or list(KINDS)
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("list", kind, KINDS)
    for kind in kinds:
        _print({"methods": methods_table, "datasets": datasets_table, "backbones": backbones_table}[kind]())
    return 0


def methods_table() -> Table:
    """Every method with its defaults (conf/method), its count on ViT-B/16 and its source."""
    from aoft_bench import methods
    from aoft_bench.backbones.layout import shape_of
    from aoft_bench.config import choices as presets

    table = Table("method", "trained on ViT-B/16", "merges", "what", title="methods (method=NAME)")
    shape = shape_of(_meta_backbone("vit_b16_in21k"))
    for choice in presets.choices():
        name, options = presets.read(choice)
        made = methods.build(name, options)
        count = made.count(shape)  # a formula, which the tests hold against what is attached
        if count is None:
            count = methods.attach(_meta_backbone("vit_b16_in21k"), made).trainable_parameters(head=False)
        module = inspect.getdoc(inspect.getmodule(methods.get(name))) or ""
        what = f"{module.splitlines()[0]}\n{made.source}" if choice == name else _setting(choice, name, options)
        table.add_row(choice, f"{count:,}", "yes" if made.mergeable else "no", what)
    table.caption = "without the head, with the options of conf/method/NAME.yaml"
    return table


def _setting(choice: str, name: str, options: dict[str, Any]) -> str:
    """What a choice that is a setting of another one's method changes."""
    from aoft_bench import methods

    defaults = dataclasses.asdict(methods.build(name, {}))  # type: ignore[call-overload]
    changed = [f"{key}={value}" for key, value in options.items() if defaults[key] != value]
    return f"{name} with {', '.join(changed)}"


def datasets_table() -> Table:
    """Every task with its group, classes, split sizes and source."""
    from aoft_bench.data import TASKS

    table = Table(
        "dataset",
        "suite",
        "group",
        "classes",
        "train + val",
        "test",
        "TFDS builder, or source",
        title="datasets (dataset=NAME)",
    )
    for name, task in TASKS.items():
        sizes = task.sizes
        train = f"{sizes['train800']:,} + {sizes['val200']:,}" if sizes else "yours"
        test = f"{sizes['test']:,}" if sizes else "yours"
        table.add_row(
            name, task.suite, task.group, str(task.classes or "yours"), train, test, task.builder or task.source
        )
    return table


def backbones_table() -> Table:
    """Every backbone with its parameters, input size and weights."""
    from aoft_bench.backbones.networks import read_options
    from aoft_bench.backbones.weights import weights_name
    from aoft_bench.config.schema import BackboneOptions, conf_dir

    table = Table("backbone", "parameters", "input", "weights", title="backbones (backbone=NAME)")
    for path in sorted((conf_dir() / "backbone").glob("*.yaml")):
        options = BackboneOptions(**read_options(path.stem))
        count = sum(p.numel() for p in _meta_backbone(path.stem).parameters())
        given = "backbone.checkpoint=FILE" if path.stem.endswith("_file") else weights_name(options)
        table.add_row(path.stem, f"{count:,}", f"{options.img_size} px", given)
    table.caption = "parameters without the head; weights of a timm name come from the Hugging Face hub"
    return table


def _meta_backbone(name: str) -> Any:
    import torch

    from aoft_bench.backbones.networks import build, read_options
    from aoft_bench.config.schema import BackboneOptions

    options = read_options(name)
    if name.endswith("_file"):
        options["checkpoint"] = "FILE"  # the architecture is all that is needed here
    with torch.device("meta"):
        return build(BackboneOptions(**options), num_classes=0, weights=False).model


def _print(table: Table) -> None:
    table.title_justify = table.caption_justify = "left"
    table.box = rich.box.SIMPLE_HEAD
    for column in table.columns[:-1]:
        column.no_wrap = True
    console = Console()
    # in a pipe or a log there is no width to fit: rows stay whole, for grep
    Console(width=console.width if console.is_terminal else 160).print(table)
