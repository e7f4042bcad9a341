"""`aoft-bench list [methods|datasets|backbones]`: what there is, with parameter counts and sources."""

import dataclasses
import inspect
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rich.box
from rich.console import Console
from rich.table import Table

from aoft_bench.cli import ArgumentParser
from aoft_bench.utils.errors import UserError, unknown

if TYPE_CHECKING:
    from aoft_bench.methods import Method

KINDS = ("methods", "datasets", "backbones")


def main(arguments: Sequence[str]) -> int:
    """Print the given lists, by default all of them."""
    parser = ArgumentParser("list")
    parser.add_argument("kinds", nargs="*", metavar="|".join(KINDS), help="default: all of them")
    parser.add_argument("--markdown", action="store_true", help="the table of docs/methods.md")
    options = parser.parse_args(arguments)
    for kind in options.kinds:
        if kind not in KINDS:
            raise unknown("list", kind, KINDS)
    if options.markdown:
        print(methods_markdown())
        return 0
    for kind in options.kinds or KINDS:
        _print({"methods": methods_table, "datasets": datasets_table, "backbones": backbones_table}[kind]())
    return 0


@dataclass(frozen=True)
class MethodChoice:
    """One choice of `method=`. method: with the options of its YAML; count: of trained parameters on ViT-B/16 without
    the head; setting: what it changes of another choice, or empty if it is a method with its defaults."""

    name: str
    method: "Method"
    count: int
    setting: str


def method_choices() -> Iterator[MethodChoice]:
    """Every choice of conf/method, sorted by name."""
    from aoft_bench import methods
    from aoft_bench.backbones.layout import VIT_B16
    from aoft_bench.config import choices

    for choice in choices.choices():
        # the file of a method itself has the defaults of its class, which the tests hold
        name, options = (choice, {}) if choice in methods.names() else choices.read(choice)
        method = methods.build(name, options)
        count = method.count(VIT_B16)  # a formula, which the tests compare with what is attached
        if count is None:
            handle = methods.attach(_meta_backbone("vit_b16_in21k"), method, prepared={})
            count = handle.trainable_parameters(head=False)
        defaults = dataclasses.asdict(methods.build(name, {}))  # type: ignore[call-overload]
        changed = [f"{key}={value}" for key, value in options.items() if defaults[key] != value]
        yield MethodChoice(choice, method, count, "" if choice == name else f"{name} with {', '.join(changed)}")


def methods_table() -> Table:
    """Every choice of `method=` with its count on ViT-B/16 and its source."""
    table = Table("method", "trained on ViT-B/16", "merges", "what", title="methods (method=NAME)")
    for choice in method_choices():
        text = inspect.getdoc(inspect.getmodule(type(choice.method))) or ""
        what = choice.setting or f"{text.splitlines()[0]}\n{choice.method.source}"
        table.add_row(choice.name, f"{choice.count:,}", _yes(choice.method.mergeable), what)
    table.caption = "without the head, with the options of conf/method/NAME.yaml"
    return table


def methods_markdown() -> str:
    """The same as a table of docs/methods.md: what papers print, where a method starts, whether it acts on a Swin."""
    from aoft_bench import methods

    swin = pickle.dumps(_meta_backbone("swin_b_in22k"))  # a copy.deepcopy for each method takes 20 times as long
    lines = [
        "| `method=` | in papers | trained | printed, and what that counts | merges | starts at the backbone | Swin |",
        "| --- | --- | ---: | --- | --- | --- | --- |",
    ]
    for choice in method_choices():
        method = choice.method
        try:
            methods.attach(pickle.loads(swin), method, prepared={})
            on_swin = True
        except UserError:
            on_swin = False
        title, published = ("", f"ours: {choice.setting}") if choice.setting else (method.title, method.published)
        answers = map(_yes, (method.mergeable, method.starts_at_backbone, on_swin))
        lines.append(f"| {' | '.join([f'`{choice.name}`', title, f'{choice.count:,}', published, *answers])} |")
    return "\n".join(lines)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def datasets_table() -> Table:
    """Every task with its group, classes, split sizes and source."""
    from aoft_bench.data import TASKS

    table = Table("dataset", "suite", "group", "classes", "train + val", "test", "TFDS builder, or source")
    table.title = "datasets (dataset=NAME)"
    for name, task in TASKS.items():
        numbers = ("yours", "yours", "yours")
        if sizes := task.sizes:
            numbers = (str(task.classes), f"{sizes['train800']:,} + {sizes['val200']:,}", f"{sizes['test']:,}")
        table.add_row(name, task.suite, task.group, *numbers, task.builder or task.source)
    return table


def backbones_table() -> Table:
    """Every backbone with its parameters, input size and weights."""
    from aoft_bench.backbones.weights import weights_name
    from aoft_bench.config.choices import backbone_options
    from aoft_bench.config.compose import Composer

    table = Table("backbone", "parameters", "input", "weights", title="backbones (backbone=NAME)")
    for name in Composer().choices("backbone"):
        options = backbone_options(name)
        count = sum(p.numel() for p in _meta_backbone(name).parameters())
        given = "backbone.checkpoint=FILE" if name.endswith("_file") else weights_name(options)
        table.add_row(name, f"{count:,}", f"{options.img_size} px", given)
    table.caption = "parameters without the head; weights of a timm name come from the Hugging Face hub"
    return table


def _meta_backbone(name: str) -> Any:
    import torch

    from aoft_bench.backbones.networks import build
    from aoft_bench.config.choices import backbone_options

    # a name without a tag needs a file, which is not read
    options = backbone_options(name, **({"checkpoint": "FILE"} if name.endswith("_file") else {}))
    with torch.device("meta"):
        return build(options, num_classes=0, weights=False).model


def _print(table: Table) -> None:
    table.title_justify = table.caption_justify = "left"
    table.box = rich.box.SIMPLE_HEAD
    for column in table.columns[:-1]:
        column.no_wrap = True
    console = Console()
    # in a pipe or a log there is no width to fit: rows stay whole, for grep
    Console(width=console.width if console.is_terminal else 160).print(table)
