"""What the runs cost against their accuracy, as recorded: speed of training and peak memory."""

import statistics
from collections import defaultdict

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from aoft_bench.figures.drawing import Drawing
from aoft_bench.figures.names import slug
from aoft_bench.figures.style import Look, legend_below, new_figure, wrapped
from aoft_bench.figures.values import NothingToDrawError, accuracy_label, complete, cost, hardware
from aoft_bench.results.tables import Row, Table


def draw(table: Table, looks: dict[str, Look]) -> list[Drawing]:
    """One figure for each hardware that two rows or more ran on; raises `NothingToDrawError`."""
    machines: dict[str, list[tuple[Row, float, float]]] = defaultdict(list)
    mixed = []
    for row, mean, spread in complete(table):
        names = {hardware(record) for record in row.records}
        if len(names) > 1:
            mixed.append(row.label)
        elif names != {""} and cost(row, "train_images_per_second") and cost(row, "peak_memory_bytes"):
            machines[names.pop()].append((row, mean, spread))
    several = len(machines) > 1
    drawings = [
        _figure(table, machine, shown, looks, mixed, f"cost-{slug(machine)}" if several else "cost")
        for machine, shown in sorted(machines.items())
        if len(shown) > 1
    ]
    if not drawings:
        raise NothingToDrawError("fewer than two methods have speed and memory recorded on the same hardware")
    return drawings


def _figure(
    table: Table,
    machine: str,
    shown: list[tuple[Row, float, float]],
    looks: dict[str, Look],
    mixed: list[str],
    name: str,
) -> Drawing:
    figure = new_figure(2.1)
    speed, memory = figure.subplots(1, 2, sharey=True)
    for row, mean, spread in shown:
        look = looks[row.label].marks()
        images = statistics.fmean(cost(row, "train_images_per_second"))
        peak = max(cost(row, "peak_memory_bytes")) / 2**30
        for axes, value in ((speed, images), (memory, peak)):
            bar = axes.errorbar([value], [mean], yerr=[spread] if spread else None, ls="", elinewidth=0.7, **look)
            bar[0].set_gid(row.label)
    _axis(speed, "training images/s of\nthese runs, no benchmark")
    _axis(memory, "peak memory of these\nruns (GiB), no benchmark")
    speed.set_ylabel(accuracy_label(table))
    figure.suptitle(wrapped(f"recorded on {machine}", 3.1), fontsize="medium")
    legend_below(figure, [Line2D([], [], ls="", label=row.label, **looks[row.label].marks()) for row, _, _ in shown])
    caption = (
        f"{accuracy_label(table)} against training images per second (mean over datasets and seeds) and peak memory "
        f"(the largest of any run), as recorded on {machine}; not a benchmark: the runs may have shared the machine"
    )
    if mixed:
        caption += f"; left out, their runs were on several machines: {', '.join(mixed)}"
    return Drawing(name, figure, caption)


def _axis(axes: Axes, label: str) -> None:
    axes.margins(x=0.12, y=0.1)
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(label)
