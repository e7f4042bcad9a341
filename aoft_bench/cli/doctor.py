"""`aoft-bench doctor [dataset=NAME[,NAME|SUITE] ...]`: is the data ready, is it right, and what differs.

doctor [dataset=...]              a row a task and cache: ready or not, its size, where from, what to do next
doctor --verify [dataset=...]     read the caches from end to end: exit code 2 if anything is wrong with one
doctor --compare A B [dataset=NAME] [--csv FILE]
                                  which images, labels and pixels differ: exit code 0 same, 1 not, 2 a mistake
"""

import argparse
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aoft_bench.cli import ArgumentParser
from aoft_bench.utils.errors import UserError, unknown

if TYPE_CHECKING:
    from rich.table import Table

    from aoft_bench.cli.data_commands import ChosenTask
    from aoft_bench.data.compare import Side

EVERY_TASK = "all"
READY, IDLE, UNUSABLE = "ready (cached)", "cached, not in use", "unusable cache"
_ENDLESS = 100_000  # columns
FLAGS = ("--verify", "--compare", "--csv", "--help")

USAGE = f"""{__doc__}
  A, B                     each a cache directory (the table shows them); or, with dataset=NAME, a folder pack, a folder
                           with FGVC's json files, `tfds` or `folder` (what data.source=tfds or folder gives): these are
                           prepared into the cache first
  --csv FILE               one line an image pair: split, locations, labels, id, mean absolute error in grey levels
  dataset=cifar100,svhn    tasks; suites: vtab1k, fgvc, embedded; default: all
  data.cache=DIR           where prepared images are kept
  data.root=DIR  data.tfds_dir=DIR  data.manual_dir=DIR  data.source=tfds|folder  backbone=NAME    as for a run"""


def main(arguments: Sequence[str]) -> int:
    """Report on, verify or compare prepared data. Exit code 1 if a comparison finds a difference."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    asked = _parse(arguments)
    if asked.compare:
        return _compare(asked.compare, asked.csv, asked.words)
    return _verify(asked.words) if asked.verify else _report(asked.words)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser("doctor", add_help=False, allow_abbrev=False)
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"))
    parser.add_argument("--csv", type=Path, metavar="FILE")
    parser.add_argument("words", nargs="*")

    asked, strange = parser.parse_known_intermixed_args(words)
    if strange:
        raise unknown("flag", strange[0], FLAGS)
    if asked.verify and asked.compare:
        parser.error("--verify and --compare are two questions, ask one")
    if asked.csv and not asked.compare:
        parser.error("--csv goes with --compare A B")
    return asked


@dataclass(frozen=True)
class Row:
    """A line of the report: `task`, `state`, `size`, `origin` of the images, and `todo`, what to do next."""

    task: str
    state: str
    size: str
    origin: str
    todo: str


def _report(words: list[str]) -> int:
    from aoft_bench.cli.data_commands import chosen_tasks

    settings = [word for word in words if not word.startswith("dataset=")]
    chosen = chosen_tasks(words, default=EVERY_TASK)
    _print(_table([row for one in chosen for row in rows(one, settings)]))
    print(_notes(chosen[0]))
    return 0


def rows(chosen: "ChosenTask", settings: Sequence[str]) -> list[Row]:
    """The lines of a task: one a cache, then one that says how to get ready where no cache is.

    `settings` are the words of the command line that a command shown as the next step has to repeat.
    """
    from aoft_bench.data.prepared_task import source_of

    kind, problem = "", ""
    try:
        kind = source_of(chosen.task, chosen.locations, chosen.image_size, chosen.interpolation)
    except UserError as error:
        problem = str(error)
    found = [_cache_row(chosen, directory, kind, problem) for directory in caches(chosen)]
    if any(row.state == READY or (row.state == IDLE and problem) for row in found):
        return found
    return [*found, _source_row(chosen, kind, problem, settings)]


def caches(chosen: "ChosenTask") -> list[Path]:
    """The cache directories of a task; what a killed preparation left is none of them."""
    inside = chosen.locations.cache_of(chosen.task)
    try:
        return sorted(path for path in inside.iterdir() if path.is_dir() and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"cannot read {inside}: {error.strerror}; mend its permissions") from error


def _cache_row(chosen: "ChosenTask", directory: Path, kind: str, problem: str) -> Row:
    from aoft_bench.data.compare import Side
    from aoft_bench.data.verify import glance

    name = chosen.task.name
    try:
        side = Side(directory, glance(directory, name))
    except UserError as error:
        return Row(name, UNUSABLE, _megabytes(directory), str(directory), str(error))
    size, origin = f"{_megabytes(directory)}, {side.size}", f"{side.meta['source_note']}: {directory}"
    if not kind:
        return Row(name, IDLE, size, origin, problem)
    source = side.meta["source"]
    if source != kind:
        how = "data.source=tfds" if source == "tfds" else "data.source=folder data.root=<its folder>"
        return Row(name, IDLE, size, origin, f"a run takes another source now ({kind}); {how} takes it")
    if not _fits(side, chosen):
        todo = f"made for another input than {chosen.image_size} pixels, {chosen.interpolation}"
        return Row(name, IDLE, size, origin, todo)
    return Row(name, READY, size, origin, "")


def _fits(side: "Side", chosen: "ChosenTask") -> bool:
    """Whether a run with this backbone would open the cache."""
    import numpy as np

    from aoft_bench.data.image_list import resize_to

    shape, squashed_by = side.meta["shape"], side.meta["squashed_by"]
    if squashed_by is None:
        return max(shape[:2]) <= chosen.image_size
    if shape is None:
        sizes = np.load(side.directory / "train800_sizes.npy")
        return squashed_by == chosen.interpolation and sizes[0].min() == resize_to(chosen.image_size)
    return squashed_by == chosen.interpolation and shape[0] == chosen.image_size


def _source_row(chosen: "ChosenTask", kind: str, problem: str, settings: Sequence[str]) -> Row:
    """What a task without a usable cache can be prepared from, and by which command."""
    from aoft_bench.data.locations import choose
    from aoft_bench.data.sources import folder

    task, locations = chosen.task, chosen.locations
    command = shlex.join(["aoft-bench", "prepare", f"dataset={task.name}", *settings])
    if kind == "embedded":
        return Row(task.name, "can be generated", "", "generator in aoft_bench", command)
    if kind in ("folder", "json"):
        return Row(task.name, "pack found", "", str(folder.find_pack(task, locations.root)), command)
    try:
        expected = kind or choose(task, locations, False)
    except UserError:
        expected = ""
    if expected == "tfds":
        return _tfds_row(chosen, command)
    return Row(task.name, "not here", "", "", problem)


def _tfds_row(chosen: "ChosenTask", command: str) -> Row:
    from aoft_bench.data.tfds import process
    from aoft_bench.data.tfds.builders import facts
    from aoft_bench.data.tfds.transfer_progress import amount

    task, locations = chosen.task, chosen.locations
    assert task.builder is not None
    prepared = process.prepared_folder(task, locations)
    if any(prepared.glob("*/dataset_info.json")):  # what an interrupted preparation leaves has none
        return Row(task.name, "prepared by TFDS, not cached", _megabytes(prepared), str(prepared), command)
    builder = facts(task.builder)
    install = "" if importlib.util.find_spec("tensorflow") else f"{process.EXTRA}; "
    by_hand = f"by hand: {builder.manual}, where <manual_dir> is {locations.manual}; then: " if builder.manual else ""
    trouble = f" ({builder.trouble})" if builder.trouble else ""
    pack = f"; or a pack in {' or '.join(f'data/packs/{name}' for name in task.folders)}"
    return Row(
        task.name,
        "by hand" if builder.manual else "can be downloaded",
        ("" if builder.manual else f"download {amount(builder.download)}, ") + f"disk {amount(builder.disk)}",
        f"TFDS {task.builder}",
        f"{install}{by_hand}{command}{trouble}{pack}",
    )


def _megabytes(folder: Path) -> str:
    from aoft_bench.cli.prepare import megabytes

    return megabytes(folder)


def _table(found: Sequence[Row]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("task", "state", "size", "from", "what to do next", title="data on this machine")
    for row in found:
        table.add_row(*(escape(text) for text in (row.task, row.state, row.size, row.origin, row.todo)))
    return table


def _notes(chosen: "ChosenTask") -> str:
    """What stands below the table."""
    from aoft_bench.data.sources import folder

    return (
        f"cache: {chosen.locations.cache.expanduser()}; TFDS: {chosen.locations.tfds}\n"
        f"a folder pack ({folder.LAYOUT}) in data/packs, ${folder.ENVIRONMENT} or data.root=<folder> is taken instead "
        f"of TFDS\nfgvc: {folder.JSON_LAYOUT}\n--verify reads every cache from end to end"
    )


def _print(table: "Table") -> None:
    import rich.box
    from rich.console import Console

    table.title_justify = "left"
    table.box = rich.box.SIMPLE_HEAD
    for index, column in enumerate(table.columns):
        column.no_wrap = index < 2
        column.overflow = "fold"  # a path or a command is never cut
    console = Console()
    if not console.is_terminal:
        # in a pipe or a log there is no width to fit: rows stay whole, for grep
        console = Console(width=console.measure(table, options=console.options.update(width=_ENDLESS)).maximum)
    with console.capture() as printed:
        console.print(table)
    print("\n".join(line.rstrip() for line in printed.get().splitlines()))


def _verify(words: list[str]) -> int:
    from aoft_bench.cli.data_commands import chosen_tasks
    from aoft_bench.data.verify import verify

    chosen = chosen_tasks(words, default=EVERY_TASK)
    found = [(one.task, directory) for one in chosen for directory in caches(one)]
    if not found:
        names = ", ".join(one.task.name for one in chosen) if len(chosen) < 4 else f"the {len(chosen)} tasks"
        raise UserError(
            f"nothing to verify: {chosen[0].locations.cache.expanduser()} holds no cache of {names}; prepare one with "
            f"aoft-bench prepare, or name another folder with data.cache=<folder>"
        )
    wrong = 0
    for task, directory in found:
        verdict = verify(task, directory)
        wrong += bool(verdict.problems)
        if not verdict.problems:
            print(f"{task.name} {directory.name}: {verdict.sound}", flush=True)
        for problem in verdict.problems:
            print(f"aoft_bench: {task.name} {directory.name}: {problem}", file=sys.stderr, flush=True)
    if wrong and len(found) > 1:
        print(f"aoft_bench: {wrong} of {len(found)} caches are wrong (named above)", file=sys.stderr)
    return 2 if wrong else 0


def _compare(texts: Sequence[str], csv_file: Path | None, words: list[str]) -> int:
    from aoft_bench.data.compare import compare, csv_text, describe
    from aoft_bench.utils.files import write_text_atomically

    if csv_file and (csv_file.is_dir() or not csv_file.absolute().parent.is_dir()):
        raise UserError(f"--csv {csv_file}: give the name of a file in a folder that exists")
    a, b = _sides(texts, words)
    for name, side in (("A", a), ("B", b)):
        meta = side.meta
        print(f"{name}  {meta['task']}, {meta['source_note']}: {sum(meta['sizes'].values()):,} images, {side.size}")
        print(f"   {side.directory}", flush=True)
    found = compare(a, b)
    print("\n".join(describe(found)))
    if csv_file:
        write_text_atomically(csv_file, csv_text(found))
        print(f"pairs -> {csv_file}")
    return 0 if found.same else 1


def _sides(texts: Sequence[str], words: list[str]) -> tuple["Side", "Side"]:
    """The two sides of a comparison; what is no cache yet is prepared, at the size of the one that is."""
    from aoft_bench.cli.data_commands import chosen_tasks
    from aoft_bench.data.compare import cached_side, prepared_side

    chosen = chosen_tasks(words, default=EVERY_TASK) if words else []
    task = chosen[0].task if len(chosen) == 1 else None
    sides = [cached_side(text, task) for text in texts]
    for index, text in enumerate(texts):
        if sides[index] is None:
            if task is None:
                raise UserError(f"{text!r} is no cache directory: say which task it is, dataset=NAME, one name")
            sides[index] = prepared_side(text, chosen[0], sides[1 - index])
    assert sides[0] and sides[1]
    return sides[0], sides[1]
