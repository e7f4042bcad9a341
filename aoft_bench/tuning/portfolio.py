"""An order of settings learned from the tuning records of other tasks: those first that together do best on them.

The first setting has the smallest mean distance to the best setting of each task; each further one is that which,
added to those before it, makes the mean distance of the best of them smallest. (Greedy portfolios, as in Salinas and
Erickson, TabRepo, AutoML 2024.) The task that is tuned is left out.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aoft_bench.tuning.evidence import Evidence, TuningRun
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import counted

SIZE = 5
LEAST = 1.0  # points: how far behind a setting is taken to be on a task that it was not trained on, at least


@dataclass(frozen=True)
class Portfolio:
    """settings: the names of those chosen, in order; tasks: which they were chosen on; records: how many that were;
    behind: mean distance of the best of them to the best setting of each task, in points of val200 top-1."""

    settings: list[str]
    tasks: list[str]
    records: int
    behind: float

    def __str__(self) -> str:
        return (
            f"the {counted(len(self.settings), 'setting')} that together do best on {', '.join(self.tasks)} "
            f"({counted(self.records, 'tuning record')}), {self.behind:.2f} points behind the best of each on average"
        )


def portfolio(
    found: Evidence, settings: Mapping[str, Mapping[str, Any]], *, method: str, backbone: str, dataset: str
) -> Portfolio:
    """The best `SIZE` of some settings for a task, by the finished runs of a method and a backbone on other tasks.

    settings: of each, by its name, the values that vary among them. A task is a dataset under one setting of all else
    (`TuningSetting`). Raises `UserError` if there are no such runs.
    """
    tasks: dict[tuple[str, str], dict[str, list[TuningRun]]] = defaultdict(lambda: defaultdict(list))
    for run in found.runs:
        if (run.method, run.setting.backbone) == (method, backbone) and run.dataset != dataset:
            for name, values in settings.items():
                if all(run.values.get(key) == value for key, value in values.items()):
                    tasks[run.dataset, str(run.setting)][name].append(run)
    if not tasks:
        raise UserError(
            f"start=portfolio: there are no finished tuning records of these settings of {method} with {backbone} on "
            f"other tasks than {dataset}; tune another task first, or give start=grid"
        )
    behind = [_behind(runs, list(settings)) for runs in tasks.values()]
    chosen: list[str] = []
    nearest = [float("inf")] * len(behind)
    while len(chosen) < min(SIZE, len(settings)):
        left = [name for name in settings if name not in chosen]
        sums = {name: sum(map(min, nearest, (task[name] for task in behind))) for name in left}
        best = min(left, key=lambda name: (sums[name], sum(task[name] for task in behind)))  # the first of equal ones
        nearest = [min(*pair) for pair in zip(nearest, (task[best] for task in behind), strict=True)]
        chosen.append(best)
    records = sum(len(runs) for task in tasks.values() for runs in task.values())
    return Portfolio(chosen, sorted({name for name, _ in tasks}), records, sum(nearest) / len(nearest))


def _behind(runs: Mapping[str, list[TuningRun]], names: list[str]) -> dict[str, float]:
    """How many points each setting is behind the best on a task; one without runs there as far as the worst."""
    scores = {name: 100 * float(sum(run.score for run in some) / len(some)) for name, some in runs.items()}
    best = max(scores.values())
    worst = max(LEAST, best - min(scores.values()))
    return {name: best - scores[name] if name in scores else worst for name in names}
