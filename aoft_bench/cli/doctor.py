"""`aoft-bench doctor [dataset=NAME[,NAME|SUITE] ...]`: which data are ready, whether they are right, how copies differ.

doctor [dataset=...]              a row for each task and cache: its state, size and origin, and what to do next
doctor --verify [dataset=...]     read all of the caches: exit code 2 if one is damaged
doctor --compare A B [dataset=NAME] [--csv FILE]
                                  which images, labels and pixels differ: exit code 0 none, 1 some, 2 a mistake
"""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aoft_bench.cli import HELP_FLAGS, ArgumentParser
from aoft_bench.cli.data_commands import EVERYTHING, ChosenTask, chosen_tasks
from aoft_bench.data import Task, task
from aoft_bench.data.locations import ENVIRONMENT, JSON_LAYOUT, LAYOUT
from aoft_bench.data.tasks import OWN, SPLITS
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.files import user_path
from aoft_bench.utils.text import one_line, plain_lines

if TYPE_CHECKING:
    from aoft_bench.data.prepared_task import PreparedTask
    from aoft_bench.data.state import TaskState

SOURCE_WORDS = ("tfds", "folder")

USAGE = f"""{__doc__}
  A, B                     each a cache directory (the table shows them); or, with dataset=NAME, a folder pack, a folder
                           with FGVC's json files, `tfds` or `folder` (as with data.source=tfds or folder): these are
                           prepared into the cache first
  --csv FILE               a line for each image pair: split, positions, labels, id, mean absolute error in grey levels
  dataset=cifar100,svhn    tasks; suites: vtab1k, manyshot, fgvc, domainshift, embedded; default: all
  data.cache=DIR           where prepared images are kept
  data.root=DIR  data.tfds_dir=DIR  data.manual_dir=DIR  data.source=tfds|folder  backbone=NAME    as for a run

for example:
  aoft-bench doctor dataset=vtab1k data.root=data/packs"""


def main(arguments: Sequence[str]) -> int:
    """Report on, verify or compare prepared data. Exit code 1 if a comparison finds a difference."""
    if HELP_FLAGS & set(arguments):
        print(USAGE)
        return 0
    parser = ArgumentParser("doctor", add_help=False, allow_abbrev=False)
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"))
    parser.add_argument("--csv", type=Path, metavar="FILE")
    parser.add_argument("words", nargs="*")
    given, others = parser.parse_known_intermixed_args(arguments)
    if others:
        raise unknown("flag", others[0], ("--verify", "--compare", "--csv", "--help"))
    if given.verify and given.compare:
        parser.error("--verify and --compare exclude each other, give one")
    if given.csv and not given.compare:
        parser.error("--csv goes with --compare A B")
    if given.compare:
        return _compare(given.compare, given.csv, given.words)
    return _verify(given.words) if given.verify else _report(given.words)


def _report(words: list[str]) -> int:
    from aoft_bench.data.state import states_of

    settings = [word for word in words if not word.startswith("dataset=")]
    chosen = chosen_tasks(words, default=EVERYTHING)
    found = []
    for one in chosen:
        command = shlex.join(["aoft-bench", "prepare", f"dataset={_group_of(one.task)}", *settings])
        found += states_of(one.task, one.locations, one.image_size, one.interpolation, command)
    _print_table(found)
    locations = chosen[0].locations
    cache = user_path(locations.cache, "data.cache")
    print(
        f"cache: {cache}; TFDS: {locations.tfds}\n"
        f"a folder pack ({LAYOUT}) in data/packs, ${ENVIRONMENT} or data.root=<folder> is taken instead of TFDS\n"
        f"fgvc: {JSON_LAYOUT}\n--verify reads all of every cache"
    )
    return 0


def _group_of(one: Task) -> str:
    """What `dataset=` takes for a task; images of the user's own have a name besides."""
    return OWN if one.suite == "own" else one.name


def _print_table(found: Sequence["TaskState"]) -> None:
    import rich.box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="data on this machine", title_justify="left", box=rich.box.SIMPLE_HEAD)
    for index, name in enumerate(("task", "state", "size", "from", "what to do next")):
        table.add_column(name, no_wrap=index < 2, overflow="fold")  # a path or a command is never cut
    for row in found:
        table.add_row(*(escape(plain_lines(text)) for text in (row.task, row.state, row.size, row.origin, row.todo)))
    console = Console()
    if not console.is_terminal:
        # a pipe or a log has no width: one line for each row, for grep
        console = Console(width=console.measure(table, options=console.options.update(width=100_000)).maximum)
    with console.capture() as printed:
        console.print(table)
    print("\n".join(line.rstrip() for line in printed.get().splitlines()))


def _verify(words: list[str]) -> int:
    from aoft_bench.data.state import caches_of
    from aoft_bench.data.verify import verify

    chosen = chosen_tasks(words, default=EVERYTHING)
    found = [(one.task, directory) for one in chosen for directory in caches_of(one.task, one.locations)]
    if not found:
        names = ", ".join(one.task.name for one in chosen) if len(chosen) < 4 else f"the {len(chosen)} tasks"
        cache = user_path(chosen[0].locations.cache, "data.cache")
        raise UserError(
            f"nothing to verify: {cache} holds no cache of {names}; prepare one with aoft-bench prepare, or name "
            "another folder with data.cache=<folder>"
        )
    wrong = 0
    for entry, directory in found:
        verdict = verify(entry, directory)
        wrong += bool(verdict.problems)
        if not verdict.problems:
            print(f"{entry.name} {directory.name}: {verdict.sound}", flush=True)
        for problem in verdict.problems:
            print(f"aoft_bench: {entry.name} {directory.name}: {problem}", file=sys.stderr, flush=True)
    if wrong and len(found) > 1:
        print(f"aoft_bench: {wrong} of {len(found)} caches are wrong (named above)", file=sys.stderr)
    return 2 if wrong else 0


def _compare(texts: Sequence[str], csv_file: Path | None, words: list[str]) -> int:
    from aoft_bench.data.compare import compare, csv_text, describe
    from aoft_bench.utils.files import write_text_atomically

    if csv_file and (csv_file.is_dir() or not csv_file.absolute().parent.is_dir()):
        raise UserError(f"--csv {csv_file}: give the name of a file in a folder that exists")
    a, b = _open_both(texts, words)
    for name, side in (("A", a), ("B", b)):
        what = f"{side.task.name}, {one_line(side.source_note)}"
        print(f"{name}  {what}: {sum(side.sizes.values()):,} images, {side.size_text}")
        print(f"   {side.directory}", flush=True)
    found = compare(a, b)
    print("\n".join(describe(found)))
    if csv_file:
        write_text_atomically(csv_file, csv_text(found))
        print(f"pairs -> {csv_file}")
    return 0 if found.same else 1


def _open_both(texts: Sequence[str], words: list[str]) -> list["PreparedTask"]:
    """The two sides of a comparison; a source is prepared, at the size of the other side if that is a cache."""
    chosen = chosen_tasks(words, default=EVERYTHING) if words else []
    only = chosen[0] if len(chosen) == 1 else None
    sides = [_open_cache(text, only.task if only else None) for text in texts]
    for index, text in enumerate(texts):
        if sides[index] is None:
            if only is None:
                raise UserError(f"{text!r} is no cache directory: say which task it is, dataset=NAME, one name")
            sides[index] = _prepare_side(text, only, sides[1 - index])
    return [side for side in sides if side]


def _open_cache(text: str, entry: Task | None) -> "PreparedTask | None":
    """A cache directory, opened; None for a source's name or a folder of images, which have to be prepared."""
    from aoft_bench.data.cache import read_meta
    from aoft_bench.data.prepared_task import PreparedTask
    from aoft_bench.data.sources import table

    if text in SOURCE_WORDS:
        return None
    directory = Path(os.path.realpath(user_path(text, "--compare")))  # Path.resolve fails for a link to itself
    if table.holds(directory):
        return None
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        raise UserError(
            f"{text} {what}; give a cache directory (aoft-bench doctor shows them), a pack's folder, or "
            f"{' or '.join(SOURCE_WORDS)}"
        )
    if not any((directory / name).exists() for name in ("meta.json", f"{SPLITS[0]}.npy")):
        inside = sorted(str(path.parent) for path in directory.glob("*/meta.json"))
        if inside:
            raise UserError(f"{text} is no cache directory, but holds some; give one: {', '.join(inside)}")
        return None
    name = _task_of(directory)
    if entry is not None and name != entry.name:
        raise UserError(f"{text} is a cache of {name}, not of {entry.name}; leave dataset= out, or give dataset={name}")
    read_meta(directory, name)  # a damaged cache is reported before an unknown task
    return PreparedTask.open(entry or task(name), directory)


def _task_of(directory: Path) -> str:
    """The task in meta.json; if that is damaged, the name of the folder above, where the cache will be refused."""
    try:
        return str(json.loads((directory / "meta.json").read_text(encoding="utf-8"))["task"])
    except (OSError, ValueError, KeyError, TypeError):
        return directory.parent.name


def _prepare_side(text: str, chosen: ChosenTask, other: "PreparedTask | None") -> "PreparedTask":
    """Prepare a source's name, or a folder of images; at the size of `other`, so that pixels can be compared."""
    from aoft_bench.data.prepared_task import prepare

    if "embedded" in chosen.task.sources:
        raise UserError(f"{chosen.task.name} is generated and has no folder or TFDS source; give cache directories")
    root = {"tfds": None, "folder": chosen.locations.root}.get(text, Path(text))
    source = "tfds" if text == "tfds" else "auto" if chosen.task.suite == "own" else "folder"
    locations = replace(chosen.locations, source=source, root=root)
    size, interpolation = chosen.image_size, chosen.interpolation
    if other and other.shape:
        sides = other.shape[:2]
        size = max(sides) if other.squashed_by else max(size, *sides)
        interpolation = other.squashed_by or interpolation
    return prepare(chosen.task, locations, image_size=size, interpolation=interpolation)
