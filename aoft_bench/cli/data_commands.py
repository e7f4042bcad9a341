"""Shared by the commands prepare, doctor and export: the tasks of a command line, and work on each of them.

dataset=cifar100            one task
dataset=cifar100,svhn       several
dataset=vtab1k              a suite; `all` is every suite but `own`
data.root=DIR ...           any other value of conf/, as for a run
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aoft_bench import data
from aoft_bench.cli import HELP_FLAGS, method_class
from aoft_bench.data import SUITES, TASKS, Task
from aoft_bench.data.locations import Locations
from aoft_bench.utils.errors import UserError, unknown

EVERYTHING = "all"


@dataclass(frozen=True)
class ChosenTask:
    """A task, and the options with which a run of this configuration would prepare it."""

    task: Task
    locations: Locations
    image_size: int
    interpolation: str


def chosen_tasks(words: list[str], default: str | None = None) -> list[ChosenTask]:
    """The tasks of a command line, in the table's order, with its other options; `UserError` if unknown or none."""
    from aoft_bench.backbones.choice import completed
    from aoft_bench.config.command_line import read_command_line, split_word
    from aoft_bench.config.schema import from_dict

    pairs = [split_word(word, f"dataset={word if word in _names() else 'cifar100'}") for word in words]
    given = [value for name, value in pairs if name == "dataset"]
    others = [word for word, (name, _) in zip(words, pairs, strict=True) if name != "dataset"]
    if "" in given or (not given and default is None):
        raise UserError(f"which dataset? give dataset=<{'|'.join(_names()[:3])}|...>, several with commas, or a suite")
    names = _tasks_of(",".join(given) or str(default))
    read = read_command_line([f"dataset={names[0]}", *others], method_class)
    config = from_dict(completed(read.composer.compose(read.name, read.words)))  # the method's options are not needed
    places = Locations.of(config.data)

    def places_of(task: Task) -> Locations:
        # of several tasks, those that are generated have no use for the places of the others
        return Locations(places.cache) if len(names) > 1 and "embedded" in task.sources else places

    tasks = [data.task_of(config.dataset)] if len(names) == 1 else list(map(data.task, names))
    return [ChosenTask(task, places_of(task), config.backbone.img_size, config.data.interpolation) for task in tasks]


def run_command(usage: str, arguments: Sequence[str], run: Callable[[list[str]], int]) -> int:
    """Exit code of `run`, which returns how many tasks failed. Without arguments, and for --help, prints the usage."""
    if not arguments or HELP_FLAGS & set(arguments):
        print(usage)
        return 0 if arguments else 2
    return 2 if run(list(arguments)) else 0


def each_task(tasks: list[ChosenTask], done: str, work: Callable[[ChosenTask], tuple[str, object]]) -> int:
    """Call `work` on each task and print the line and the folder that it returns; returns how many tasks failed."""
    failed = 0
    for chosen in tasks:
        start = time.monotonic()
        try:
            line, folder = work(chosen)
            print(f"{chosen.task.name}: {line}, {time.monotonic() - start:.1f} s\n  {folder}", flush=True)
        except UserError as error:
            failed += 1
            print(f"aoft_bench: {error}", file=sys.stderr, flush=True)
    if failed and len(tasks) > 1:
        print(f"aoft_bench: {failed} of {len(tasks)} tasks could not be {done} (named above)", file=sys.stderr)
    return failed


def take_word(words: list[str], name: str) -> tuple[str | None, list[str]]:
    """The value of the word `name=value`, and the other words."""
    found = [word.removeprefix(f"{name}=") for word in words if word.startswith(f"{name}=")]
    if len(found) > 1:
        raise UserError(f"{name}= is given {len(found)} times ({', '.join(found)}); give it once")
    return (found[0] if found else None), [word for word in words if not word.startswith(f"{name}=")]


def _tasks_of(text: str) -> list[str]:
    """The tasks in a comma-separated list of tasks and suites, each once, in the order of the table."""
    found: set[str] = set()
    for name in (part.strip() for part in text.strip("[]").split(",")):
        if name in TASKS:
            found.add(name)
        elif name == EVERYTHING:
            found.update(entry for entry in TASKS if TASKS[entry].suite != "own")
        elif name in SUITES:
            found.update(data.tasks(name))
        else:
            raise unknown("dataset or suite", name, _names())
    return [name for name in TASKS if name in found]


def _names() -> list[str]:
    return [*TASKS, *SUITES, EVERYTHING]
