"""`aoft-bench status -cn vtab1k [name=value ...]`: how far a sweep is, from the files in its results folder.

    aoft-bench status                                what is in results/: cells by setting and method, failures
    aoft-bench status results/shipped                the same of another folder
    aoft-bench status -cn vtab1k data.root=DIR       the cells of a sweep

Prints a grid of its cells, counts them, says how much they compute, which data are missing and how to get them, and
estimates the time left from the cells that are done. Takes the arguments of `aoft-bench run`; a sweep is looked for in
sweeps/ unless -cd names another folder. Trains nothing, prepares nothing and downloads nothing, so it can be called at
any time, on any machine that shares the folder.
"""

import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aoft_bench.cli import HELP_FLAGS, method_class
from aoft_bench.data import tasks
from aoft_bench.data.tasks import SUITES, find, in_order
from aoft_bench.experiments.work import Work, work_of
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.progress_bar import in_words
from aoft_bench.utils.text import counted

if TYPE_CHECKING:
    from aoft_bench.config.schema import RunConfig
    from aoft_bench.experiments.locate import Locator

MARKS = {"done": "█", "running": "▶", "stopped": "‖", "failed": "✗", "missing": "·", "unknown": "?"}
EXPLAINED = {
    "stopped": "stopped (goes on from its last epoch)",
    "unknown": "unknown (a record of this method, dataset and seed is there; whether it is of this cell cannot be said "
    "without data and weights)",
}

LACKING = {"data": "data not prepared", "weights": "weights not here"}
UNKNOWN = "what is done of these is not known before"


@dataclass(frozen=True)
class CellStatus:
    """A cell in the grid of a sweep. seconds: what it took, if it is done; problem: why it cannot run here, or what is
    not known; lacks: which of "data" and "weights" are not here; work: what it computes, None where that is not known.
    """

    row: str
    column: str
    seed: int
    state: str  # one of MARKS
    seconds: float | None = None
    problem: str | None = None
    lacks: tuple[str, ...] = ()
    work: Work | None = None


def main(arguments: Sequence[str]) -> int:
    """Print the grid of a sweep's cells, their counts and the time left."""
    if HELP_FLAGS & set(arguments):
        print(__doc__)
        return 0
    if len(arguments) < 2 and not any(word.startswith("-") or "=" in word for word in arguments):
        print(_of_results(*arguments))
        return 0
    cells = survey(arguments)
    print(grid(cells))
    print(summary(cells))
    return 0


def _of_results(folder: str = "") -> str:
    from aoft_bench.cli.results_folder import default_folder
    from aoft_bench.cli.status_of_results import results_text

    return results_text(Path(folder) if folder else default_folder())


def survey(arguments: Sequence[str]) -> list[CellStatus]:
    """The status of each cell that `aoft-bench run` would run with these arguments, in that order."""
    from aoft_bench.backbones.choice import completed
    from aoft_bench.config.command_line import read_command_line
    from aoft_bench.config.compose import jobs_of
    from aoft_bench.config.folders import sweeps_dir

    line = read_command_line(arguments, method_class, sweeps_dir())
    composer = line.composer
    words = [word for word in line.words if not word.startswith("hydra")]
    jobs = jobs_of(composer.sweep_params(line.name), words)
    varying = _varying(jobs)
    trees = composer.compose_jobs(line.name, jobs)
    from aoft_bench.experiments.done import Finder

    finder = Finder()  # without the methods' classes: they import torch, which takes most of the time and memory
    return [
        _status_of(finder.config(completed(tree)), [word for word in job if word in varying], finder.locator)
        for job, tree in zip(jobs, trees, strict=True)
    ]


def _varying(jobs: list[list[str]]) -> set[str]:
    """The words of the jobs whose names have several values, other than method, dataset and seed."""
    from aoft_bench.config.command_line import split_word

    words: dict[str, set[str]] = defaultdict(set)
    for word in {word for job in jobs for word in job}:
        words[split_word(word)[0]].add(word)
    for name in ("method", "dataset", "seed"):
        words.pop(name, None)
    return {word for same in words.values() if len(same) > 1 for word in same}


def _status_of(config: "RunConfig", varying: list[str], locator: "Locator") -> CellStatus:
    """The status of one cell. varying: the words that distinguish it from others of its method, for its row."""
    from aoft_bench.records.files import read_record
    from aoft_bench.records.unfinished import state_of

    at = (" ".join([config.method.label, *varying]), config.dataset.name, config.seed)
    work = work_of(config)
    try:
        files, problem = locator.files(config), ""
    except UserError as error:
        files, problem = None, str(error)
    if files is None:
        lacks = locator.lacking(config)
        problem = problem or f"{' and '.join(LACKING[name] for name in lacks)}: {UNKNOWN}"
        return CellStatus(*at, _without_hash(config), problem=problem, lacks=tuple(lacks), work=work)
    state = state_of(files)
    if state != "done":
        return CellStatus(*at, state, work=work)
    try:
        cost = read_record(files.record)["cost"]
    except UserError as error:
        return CellStatus(*at, "failed", problem=str(error))
    seconds = cost.get("train_seconds"), cost.get("score_seconds")
    return CellStatus(*at, "done", None if None in seconds else sum(seconds))


def _without_hash(config: "RunConfig") -> str:
    """The state of a cell whose hash is not known: "missing" where no record has its other names."""
    from aoft_bench.records.files import record_path

    names = config.backbone.name, config.method.label, config.dataset.name, config.seed
    folder = record_path(Path(config.results.root), *names, "").parent
    return "unknown" if any(folder.glob(f"seed{config.seed}-*.json")) else "missing"


def grid(cells: list[CellStatus]) -> str:
    """Rows and columns of the sweep, the longer of them downwards, with a mark for each seed."""
    from rich.console import Console
    from rich.table import Table

    rows = list(dict.fromkeys(cell.row for cell in cells))
    columns = list(dict.fromkeys(cell.column for cell in cells))
    turned = len(columns) > len(rows)
    marks: dict[tuple[str, str], str] = defaultdict(str)
    for cell in cells:
        marks[cell.row, cell.column] += MARKS[cell.state]
    table = Table("dataset" if turned else "method", *(rows if turned else columns))
    for down in columns if turned else rows:
        across = rows if turned else columns
        table.add_row(down, *(marks[(other, down) if turned else (down, other)] for other in across))
    width = None if sys.stdout.isatty() else 1_000  # in a pipe or a log there is no width to fit: no name is cut
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()


def summary(cells: list[CellStatus]) -> str:
    """The counts, the time left for one worker, what is left to compute, why cells cannot run here, and what to do."""
    counts = Counter(cell.state for cell in cells)
    parts = [f"{counts[state]:,} {MARKS[state]} {EXPLAINED.get(state, state)}" for state in MARKS if counts[state]]
    lines = [f"{counted(len(cells), 'cell')}: {', '.join(parts)}"]
    if counts["done"] + counts["unknown"] < len(cells):
        lines.append(f"time left: {_time_left_text(time_left(cells), counts['running'])}")
        lines += _work_left(cells)
    problems = Counter(cell.problem for cell in cells if cell.problem)
    if len(problems) == 1:
        lines += [f"{count:,} of them: {problem}" for problem, count in problems.items()]
    elif problems:
        heads = [f"{problem.partition(':')[0]} ({count:,})" for problem, count in problems.most_common()]
        lines.append(f"{problems.total():,} of them: {', '.join(heads)}")
    return "\n".join([*lines, *_what_to_do(cells)])


def _work_left(cells: list[CellStatus]) -> list[str]:
    """A line with the steps and images of the cells that are known not to be done; none where that is not known."""
    works = [cell.work for cell in cells if cell.state not in ("done", "unknown")]
    known = sum((work for work in works if work), Work())
    if not known.steps:
        return []
    others = works.count(None)
    without = f", without {counted(others, 'cell')} of images of your own" if others else ""
    return [
        f"to compute: {known.steps:,} steps on {known.trained:,} images, and {known.scored:,} images to score{without} "
        "(docs/paper.md: how long that takes)"
    ]


def _what_to_do(cells: list[CellStatus]) -> list[str]:
    """How to get the data and the weights that cells lack, in a few lines."""
    names = in_order(cell.column for cell in cells if "data" in cell.lacks)
    lines = []
    for suite in SUITES:
        some = [name for name in names if find(name).suite == suite]
        listed = suite if some == tasks(suite) else ",".join(some)
        prepare = f"`aoft-bench prepare dataset={listed}"
        if some and suite == "vtab1k":
            lines.append(f"{listed}: {prepare}` gets the originals, with fetch=public the public pack of JPEG files")
        elif some and suite == "fgvc":
            lines.append(f"{listed}: images from their authors into data.root, lists by {prepare} fetch=public`")
    if names:
        lines.append("`aoft-bench doctor` tells for each task where its images are looked for, and what is by hand")
    if any("weights" in cell.lacks for cell in cells):
        lines.append("weights: a run fetches them; without a network backbone.checkpoint=FILE (docs/weights.md)")
    return [f"  {line}" for line in lines]


def time_left(cells: list[CellStatus]) -> float | None:
    """Seconds for all cells that are known not to be done, each at the mean of the done ones like it; None if there are
    none of these."""
    known: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for cell in cells:
        if cell.seconds is not None:
            for alike in _likenesses(cell):
                known[alike].append(cell.seconds)
    if not known:
        return None
    means = {alike: statistics.fmean(seconds) for alike, seconds in known.items()}
    return sum(
        next(means[alike] for alike in _likenesses(cell) if alike in means)
        for cell in cells
        if cell.state not in ("done", "unknown")
    )


def _likenesses(cell: CellStatus) -> tuple[tuple[str, ...], ...]:
    """Which cells are like this one: of its method and task, of its method, all."""
    return (cell.row, cell.column), (cell.row,), ()


def _time_left_text(seconds: float | None, workers: int) -> str:
    if seconds is None:
        return "unknown until the first cell is done"
    shared = f", {in_words(seconds / workers)} for the {workers} that run now" if workers > 1 else ""
    return f"about {in_words(seconds)} for one worker{shared}"
