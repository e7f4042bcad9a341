"""`aoft-bench list [methods|datasets|backbones|networks]`: what there is, with parameter counts and sources."""

import dataclasses
import functools
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

KINDS = ("methods", "datasets", "backbones", "networks")
# options with which a method may act on a network that its defaults do not suit, as the matrix shows them
OTHERWISE: dict[str, dict[str, Any]] = {
    "targets=[fc1,fc2]": {"targets": ["fc1", "fc2"]},
    "positions=ffn": {"positions": "ffn"},
}


def main(arguments: Sequence[str]) -> int:
    """Print the given lists, by default all of them."""
    parser = ArgumentParser("list")
    parser.add_argument("kinds", nargs="*", metavar="|".join(KINDS), help="default: all of them")
    of_docs = "the table of docs/methods.md; of networks, those of docs/networks.md"
    parser.add_argument("--markdown", action="store_true", help=of_docs)
    options = parser.parse_args(arguments)
    for kind in options.kinds:
        if kind not in KINDS:
            raise unknown("list", kind, KINDS)
    if options.markdown:
        print(networks_markdown() if options.kinds == ["networks"] else methods_markdown())
        return 0
    tables = {"methods": methods_table, "datasets": datasets_table, "backbones": backbones_table}
    for kind in options.kinds or tables:  # the matrix takes some seconds, and is printed when it is asked for
        _print({**tables, "networks": networks_table}[kind]())
    return 0


@dataclass(frozen=True)
class MethodChoice:
    """One choice of `method=`. method: with the options of its YAML; count: of trained parameters on ViT-B/16 without
    the head, None where the training images decide it; setting: what it changes of another choice, or empty if it is a
    method with its defaults."""

    name: str
    method: "Method"
    count: int | None
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
        count = method.count(method.chosen_shape(VIT_B16))  # a formula, which the tests compare with what is attached
        defaults = dataclasses.asdict(methods.build(name, {}))  # type: ignore[call-overload]
        changed = [f"{key}={value}" for key, value in options.items() if defaults[key] != value]
        yield MethodChoice(choice, method, count, "" if choice == name else f"{name} with {', '.join(changed)}")


def methods_table() -> Table:
    """Every choice of `method=` with its count on ViT-B/16 and its source."""
    table = Table("method", "trained on ViT-B/16", "merges", "what", title="methods (method=NAME)")
    for choice in method_choices():
        text = inspect.getdoc(inspect.getmodule(type(choice.method))) or ""
        what = choice.setting or f"{text.splitlines()[0]}\n{choice.method.source}"
        count = "by the images" if choice.count is None else f"{choice.count:,}"
        table.add_row(choice.name, count, _yes(choice.method.mergeable), what)
    table.caption = "without the head, with the options of conf/method/NAME.yaml"
    return table


def methods_markdown() -> str:
    """The same as a table of docs/methods.md: what papers print, where a method starts, whether it acts on a Swin."""
    from aoft_bench import methods
    from aoft_bench.results.titles import BUILT_IN

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
        title = BUILT_IN.method(choice.name)
        published = f"ours: {choice.setting}" if choice.setting else method.published
        count = choice.count
        if count is None:  # of a choice of the same budget
            handle = methods.attach(_meta_backbone("vit_b16_in21k"), method, prepared={})
            count = handle.trainable_parameters(head=False)
        answers = map(_yes, (method.mergeable, method.starts_at_backbone, on_swin))
        lines.append(f"| {' | '.join([f'`{choice.name}`', title, f'{count:,}', published, *answers])} |")
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
        if name == "timm":
            table.add_row(name, "", "its own", "backbone.timm=NAME.TAG, any of timm")
            continue
        options = backbone_options(name)
        count = sum(p.numel() for p in _meta_backbone(name).parameters())
        given = "backbone.checkpoint=FILE" if name.endswith("_file") else weights_name(options)
        table.add_row(name, f"{count:,}", f"{options.img_size} px", given)
    table.caption = "parameters without the head; weights of a timm name come from the Hugging Face hub"
    return table


def networks_table() -> Table:
    """Every family of networks, with the methods that cannot act on it."""
    from aoft_bench import methods
    from aoft_bench.backbones.tiny import TINY

    table = Table("family", "for example", "methods that act on it", "but not", title="families of networks of timm")
    for family, entry in TINY.items():
        answers = {name: on_network(name, family) for name in methods.names()}
        refused = [name for name, answer in answers.items() if answer == "no"]
        acting = len(answers) - len(refused)
        which = ", ".join(refused) if len(refused) <= acting else "all others"
        some = f": {', '.join(n for n in answers if n not in refused)}" if len(refused) > acting else ""
        table.add_row(family, entry.timm, f"{acting} of {len(answers)}{some}", which)
    return table


def networks_markdown() -> str:
    """Two tables of docs/networks.md: which method acts on which family, and on networks of no family."""
    from aoft_bench import methods
    from aoft_bench.backbones.tiny import TINY

    def table(first: str, families: list[str], quote: str) -> list[str]:
        names = methods.names()
        rows = [[f"{quote}{name}{quote}", *(on_network(name, family) for family in families)] for name in names]
        return [f"| {' | '.join(row)} |" for row in ([first, *families], ["---"] * (1 + len(families)), *rows)]

    known = [family for family, entry in TINY.items() if entry.known]
    others = [family for family in TINY if family not in known]
    return "\n".join([*table("`method=`", known, "`"), "", *table("method", others, "`")])


def on_network(method: str, family: str) -> str:
    """Whether a method acts on the tiny network of a family: yes, no, or the options with which it does."""
    from aoft_bench import methods

    fields = {field.name for field in dataclasses.fields(methods.get(method))}
    for answer, options in {"yes": {}, **OTHERWISE}.items():  # type: ignore[dict-item]
        if options.keys() <= fields:
            try:
                methods.attach(pickle.loads(_pickled(family)), methods.build(method, options), prepared={})
                return answer
            except UserError:
                continue
    return "no"


@functools.cache
def _pickled(family: str) -> bytes:
    """The tiny network of a family, of which copies are made faster than it is built."""
    from aoft_bench.backbones.tiny import tiny

    return pickle.dumps(tiny(family))


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
