"""Image classification tasks: the table of tasks, their sources, the uint8 cache and the loaders.

Importing this package imports neither torch nor NumPy nor Pillow; `prepared_task` and `loader` do.
"""

from typing import TYPE_CHECKING

from aoft_bench.data.tasks import SUITES, TASKS, Task, own_task
from aoft_bench.utils.errors import unknown

if TYPE_CHECKING:
    from aoft_bench.config.schema import DatasetOptions

__all__ = ["SUITES", "TASKS", "Task", "task", "task_of", "tasks"]


def tasks(suite: str | None = None) -> list[str]:
    """Names of the tasks of one suite of `SUITES`, or of all, in the order of the paper's tables.

    Raises `UserError` for an unknown suite.
    """
    if suite is not None and suite not in SUITES:
        raise unknown("suite", suite, SUITES)
    return [name for name, entry in TASKS.items() if suite in (None, entry.suite)]


def task(name: str) -> Task:
    """The entry of one task; raises `UserError` with the closest names for an unknown one."""
    if name not in TASKS:
        raise unknown("dataset", name, TASKS, "dataset=folder data.root=<folder> trains on images of your own")
    return TASKS[name]


def task_of(options: "DatasetOptions") -> Task:
    """The task of a configuration; raises `UserError` for an unknown one, and for a name that cannot be used."""
    return own_task(options.name) if options.own else task(options.name)
