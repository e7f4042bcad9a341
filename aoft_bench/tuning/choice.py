"""Which point of a method's grid is chosen for a task, from its tuning runs."""

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aoft_bench.tuning.evidence import SETTING_NAMES, TuningRun, TuningSetting
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import counted


@dataclass(frozen=True)
class Point:
    """A point of the grid. values: those that vary over it, by dotted name; runs: one for each seed, in order."""

    values: dict[str, Any]
    runs: list[TuningRun]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.seed for run in self.runs)

    @property
    def score(self) -> Fraction:
        """Mean over seeds of val200 top-1, exact, so that equal scores are equal."""
        return sum((run.score for run in self.runs), Fraction(0)) / len(self.runs)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds in points; None for one seed."""
        return 100 * statistics.stdev(float(run.score) for run in self.runs) if len(self.runs) > 1 else None

    @property
    def trained(self) -> int:
        return max(run.trained for run in self.runs)

    def __str__(self) -> str:
        return " ".join(f"{name}={as_typed(value)}" for name, value in self.values.items()) or "the only setting"


@dataclass(frozen=True)
class Choice:
    """What was chosen for a method and a task, `best`. points: those with all seeds, in order of the grid; incomplete:
    those that lack seeds which others have; stopped: those that `aoft-bench tune` did not train to the end.
    """

    method: str
    dataset: str
    setting: TuningSetting
    points: list[Point]
    incomplete: list[Point]
    best: Point
    stopped: list[Point]

    @property
    def epochs(self) -> int:
        """Epochs of training that the choice took, over all points and seeds."""
        return sum(run.trained_epochs for p in (*self.points, *self.incomplete, *self.stopped) for run in p.runs)

    @property
    def edges(self) -> list[str]:
        """Where the choice is the largest or smallest of three or more numbers tried: a better one may lie beyond."""
        found = []
        for name, value in self.best.values.items():
            points = (*self.points, *self.stopped)
            tried = {point.values[name] for point in points if _is_number(point.values[name])}
            if len(tried) >= 3 and value in (min(tried), max(tried)):
                found.append(f"{name}={as_typed(value)} is the {'lowest' if value == min(tried) else 'highest'} tried")
        return found


def choose(runs: list[TuningRun], stopped: Sequence[TuningRun] = ()) -> Choice:
    """The choice from all runs of one method on one task under one setting.

    stopped: trials that were not trained to the end, which are never chosen. Only points with every seed that any point
    has are compared: a run that is missing has failed or was not started. The highest mean of val200 top-1 over seeds
    wins; of equal ones that with fewer trained parameters; of these the first in the grid, which is in ascending order
    of its values, by name. The order in which runs ended depends on the machines and does not count. Raises
    `UserError` if no point is complete.
    """
    first = runs[0]
    tuned = _tuned([*runs, *stopped])
    points = _points(runs, tuned)
    seeds = {run.seed for run in runs}
    complete = [point for point in points if set(point.seeds) == seeds]
    incomplete = [point for point in points if set(point.seeds) != seeds]
    if not complete:
        raise UserError(
            f"{first.method} on {first.dataset}: no setting has all of {seeds_text(seeds)}; "
            f"run what is missing, such as seed {min(seeds - set(points[0].seeds))} of {points[0]}"
        )
    ranked = sorted(complete, key=lambda point: (-point.score, point.trained))  # stable
    chosen = (complete, incomplete, ranked[0], _points(stopped, tuned))
    return Choice(first.method, first.dataset, first.setting, *chosen)


def check_comparable(groups: dict[tuple[str, str], list[TuningRun]]) -> None:
    """Raise one `UserError` that lists the settings if a method's runs on a task (the key) have more than one."""
    mixed = {key: runs for key, runs in groups.items() if len({run.setting for run in runs}) > 1}
    if not mixed:
        return
    differing = [
        name
        for name in SETTING_NAMES
        if any(len({getattr(run.setting, name) for run in runs}) > 1 for runs in mixed.values())
    ]
    counts = Counter(tuple(getattr(r.setting, name) for name in differing) for runs in mixed.values() for r in runs)
    options = []
    for values in sorted(counts, key=lambda values: [ascending(value) for value in values]):
        words = " ".join(f"--{name} {value}" for name, value in zip(differing, values, strict=True))
        options.append(f"{words} ({counted(counts[values], 'record')})")
    method, dataset = min(mixed)
    others = f" and {len(mixed) - 1} more" if len(mixed) > 1 else ""
    raise UserError(
        f"{method} on {dataset}{others} have tuning records of {len(options)} settings, which cannot be compared: "
        f"choose one of {', '.join(options)}"
    )


def ascending(value: Any) -> tuple[int, float, str]:
    """Sort key for values of any kind: null, then numbers, then all others by their text."""
    if value is None:
        return 0, 0.0, ""
    return (1, float(value), "") if _is_number(value) else (2, 0.0, json.dumps(value, sort_keys=True))


def as_typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value)


def seeds_text(seeds: set[int] | tuple[int, ...]) -> str:
    """seed 0, or seeds 0, 1, 2."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}"


def _tuned(runs: Sequence[TuningRun]) -> list[str]:
    """The names of the values that vary over runs, in alphabetical order."""
    names = sorted({name for run in runs for name in run.values})
    texts = {name: {json.dumps(run.values.get(name), sort_keys=True) for run in runs} for name in names}
    return [name for name in names if len(texts[name]) > 1]


def _points(runs: Sequence[TuningRun], tuned: list[str]) -> list[Point]:
    """The points of the grid, in ascending order of their values. tuned: the names of those that vary."""
    members: dict[str, list[TuningRun]] = defaultdict(list)
    for run in runs:
        members[json.dumps([run.values.get(name) for name in tuned], sort_keys=True)].append(run)
    points = [
        Point({name: some[0].values.get(name) for name in tuned}, sorted(some, key=lambda run: run.seed))
        for some in members.values()
    ]
    return sorted(points, key=lambda point: [ascending(value) for value in point.values.values()])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
