"""The page of tasks, made from their table in data/tasks.py."""

from collections.abc import Mapping
from itertools import groupby

from aoft_bench.data.tasks import SPLITS, TASKS, Task
from aoft_bench.results.settings import BENCHMARKS
from aoft_bench.results.titles import BUILT_IN
from tools.docs import text

_SUITES = {**BENCHMARKS, "embedded": "Embedded", "own": "Your own images"}


def page() -> str:
    """The page as Markdown: a table for each suite, in the order of the table of tasks."""
    lines = [
        "# Tasks",
        "",
        "`dataset=NAME` takes one of these. Protocol `clean` trains on train800 and val200 and scores test once; the "
        "names of the splits stay, whatever the number of images. [Data](data.md) says where images come from and what "
        "is known of each source, [splits](splits.md) which images the official splits contain.",
        "",
    ]
    for suite, some in groupby(TASKS.values(), key=lambda task: task.suite):
        tasks = list(some)
        lines += [f"## {_SUITES.get(suite, suite)}", ""]
        lines += [f"Source: {text.markdown(source, {}, '')}.\n" for source in dict.fromkeys(t.source for t in tasks)]
        lines.append(
            f"Read from: {', '.join(dict.fromkeys(kind for task in tasks for kind in task.sources))} (`data.source`).\n"
        )
        head = ["task", "`dataset=`", "group", "classes", *SPLITS, "label"]
        lines += [f"| {' | '.join(head)} |", "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |"]
        lines += [f"| {' | '.join(_cells(task))} |" for task in tasks]
        if any(task.slices for task in tasks):
            lines += ["", f"| task | TFDS builder | {' | '.join(SPLITS)} |", "| --- | --- | --- | --- | --- |"]
            lines += [f"| {' | '.join(_slices(task, task.slices))} |" for task in tasks if task.slices]
        lines.append("")
    return "\n".join(lines)


def _cells(task: Task) -> list[str]:
    sizes = [f"{task.sizes[split]:,}" for split in SPLITS] if task.sizes else ["yours"] * len(SPLITS)
    classes = f"{task.classes:,}" if task.classes else "yours"
    label = text.markdown(task.label_map, {}, "")
    return [BUILT_IN.dataset(task.name), f"`{task.name}`", task.group, classes, *sizes, label]


def _slices(task: Task, slices: Mapping[str, str]) -> list[str]:
    return [BUILT_IN.dataset(task.name), f"`{task.builder}`", *(f"`{slices[split]}`" for split in SPLITS)]
