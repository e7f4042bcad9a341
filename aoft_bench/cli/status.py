"""`aoft-bench status -cn vtab1k [name=value ...]`: how far a sweep is, from the files in its results folder.

Draws a grid of its cells, counts them, and estimates the time left from the cells that are done. Takes the words of
`python -m aoft_bench`; sweeps/ is where a name is looked for unless -cd names another folder. Runs nothing, prepares
nothing and downloads nothing; can be asked at any time, from any machine that shares the folder.
"""

import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aoft_bench.cli import method_class
from aoft_bench.records.unfinished import STATES
from aoft_bench.utils.errors import UserError

MARKS = {"done": "█", "running": "▶", "stopped": "‖", "failed": "✗", "missing": "·"}
EXPLAINED = {"stopped": "stopped (goes on from its last epoch)"}

UNKNOWN = "data not prepared or weights not here: what is done of these is not known before"


@dataclass(frozen=True)
class Place:
    """A cell of the grid of a sweep. seconds: what it took, if it is done; problem: why it cannot be run here."""

    row: str
    column: str
    seed: int
    state: str
    seconds: float | None = None
    problem: str | None = None


def main(arguments: Sequence[str]) -> int:
    """Print the grid of a sweep's cells, their counts and the time left."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    places = survey(list(arguments))
    print(grid(places))
    print(told(places))
    return 0


def survey(arguments: list[str]) -> list[Place]:
    """The state of each cell that `python -m aoft_bench` would run with these arguments."""
    from aoft_bench.config.command_line import read_command_line
    from aoft_bench.config.compose import jobs_of
    from aoft_bench.config.schema import from_dict

    read = read_command_line(arguments, method_class, Path("sweeps") if Path("sweeps").is_dir() else None)
    composer = read.composer
    words = [word for word in read.words if not word.startswith("hydra")]
    jobs = jobs_of(composer.sweep_params(read.name), words)
    look = _looker(_varying(jobs))
    return [look(from_dict(composer.compose(read.name, job), method_class), job) for job in jobs]


def _varying(jobs: list[list[str]]) -> set[str]:
    """Names of what differs between the jobs beyond method, dataset and seed."""
    values: dict[str, set[str]] = defaultdict(set)
    for job in jobs:
        for word in job:
            name, _, value = word.partition("=")
            values[name].add(value)
    return {name for name, seen in values.items() if len(seen) > 1} - {"method", "dataset", "seed"}


def _looker(varying: set[str]) -> Callable[[Any, list[str]], Place]:
    """A function that finds the state of a cell; data and weights are looked for once for all of a sweep."""
    from aoft_bench.experiments.locate import Locator
    from aoft_bench.records.files import read_record
    from aoft_bench.records.unfinished import state_of

    locator = Locator()

    def look(config: Any, job: list[str]) -> Place:
        more = [word for word in job if word.partition("=")[0] in varying]
        at = (" ".join([config.method.label, *more]), config.dataset.name, config.seed)
        try:
            files = locator.files(config)
        except UserError as error:
            return Place(*at, "missing", problem=str(error))
        if files is None:
            return Place(*at, "missing", problem=UNKNOWN)
        state = state_of(files)
        if state != "done":
            return Place(*at, state)
        try:
            cost = read_record(files.record)["cost"]
        except UserError as error:
            return Place(*at, "failed", problem=str(error))
        return Place(*at, "done", cost["train_seconds"] + cost["score_seconds"])

    return look


def grid(places: list[Place]) -> str:
    """Rows and columns of the sweep, the longer of them downwards, with a mark for each seed."""
    from rich.console import Console
    from rich.table import Table

    rows = list(dict.fromkeys(place.row for place in places))
    columns = list(dict.fromkeys(place.column for place in places))
    turned = len(columns) > len(rows)
    marks: dict[tuple[str, str], str] = defaultdict(str)
    for place in places:
        marks[place.row, place.column] += MARKS[place.state]
    table = Table("dataset" if turned else "method", *(rows if turned else columns))
    for down in columns if turned else rows:
        across = rows if turned else columns
        table.add_row(down, *(marks[(other, down) if turned else (down, other)] for other in across))
    width = None if sys.stdout.isatty() else 160  # in a pipe or a log there is no width to fit
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()


def told(places: list[Place]) -> str:
    """The counts, the time left for one worker, and what stands in the way of cells."""
    counts = Counter(place.state for place in places)
    parts = [f"{counts[state]:,} {MARKS[state]} {EXPLAINED.get(state, state)}" for state in STATES if counts[state]]
    lines = [f"{len(places):,} cells: {', '.join(parts)}"]
    if counts["done"] < len(places):
        lines.append(f"time left: {_in_words(time_left(places), counts['running'])}")
    problems = Counter(place.problem for place in places if place.problem)
    if len(problems) == 1:
        lines += [f"{count:,} of them: {problem}" for problem, count in problems.items()]
    elif problems:
        heads = [f"{problem.partition(':')[0]} ({count:,})" for problem, count in problems.most_common()]
        lines.append(f"{problems.total():,} of them: {', '.join(heads)}; `aoft-bench doctor` tells what to do")
    return "\n".join(lines)


def time_left(places: list[Place]) -> float | None:
    """Seconds for all cells that are not done; None if none is done.

    Each is taken to need the mean of the done ones of its row and column, else of its row, else of all.
    """
    known = [place for place in places if place.seconds is not None]
    if not known:
        return None

    def expected(place: Place) -> float:
        for alike in (
            [k for k in known if (k.row, k.column) == (place.row, place.column)],
            [k for k in known if k.row == place.row],
            known,
        ):
            if alike:
                return statistics.fmean(k.seconds for k in alike if k.seconds is not None)
        raise AssertionError("`known` is not empty")

    return sum(expected(place) for place in places if place.state != "done")


def _in_words(seconds: float | None, workers: int) -> str:
    if seconds is None:
        return "unknown until the first cell is done"
    shared = f", {_hours(seconds / workers)} for the {workers} that run now" if workers > 1 else ""
    return f"about {_hours(seconds)} for one worker{shared}"


def _hours(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(1, minutes)} min"
