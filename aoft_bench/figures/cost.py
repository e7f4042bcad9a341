"""What the runs cost against their accuracy, as recorded: speed of training and peak memory."""

import statistics
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.series import Styles
from aoft_bench.figures.style import new_figure
from aoft_bench.figures.text import legend_below, wrapped
from aoft_bench.figures.values import NothingToDrawError, accuracy_label, complete, cost, hardware, without_records
from aoft_bench.results.names import slug
from aoft_bench.results.settings import Comparison


@dataclass(frozen=True)
class _Point:
    """A row on one machine: top-1 in % with its spread, training images a second, peak memory in GiB."""

    label: str
    mean: float
    spread: float
    images: float
    peak: float


def plans(comparison: Comparison, styles: Styles) -> list[Plan]:
    """One figure for each hardware that two rows or more ran on; raises `NothingToDrawError`."""
    machines: dict[str, list[_Point]] = defaultdict(list)
    mixed = []
    for row, mean, spread in complete(comparison):
        names = {hardware(record) for record in row.records}
        if len(names) > 1:
            mixed.append(row.label)
            continue
        images, peaks = cost(row, "train_images_per_second"), cost(row, "peak_memory_bytes")
        if names != {""} and images and peaks:
            point = _Point(row.label, mean, spread, statistics.fmean(images), max(peaks) / 2**30)
            machines[names.pop()].append(point)
    small = without_records(comparison)
    found: list[Plan] = [
        partial(_figure, small, machine, shown, styles, mixed, f"cost-{slug(machine)}" if len(machines) > 1 else "cost")
        for machine, shown in sorted(machines.items())
        if len(shown) > 1
    ]
    if not found:
        raise NothingToDrawError("fewer than two methods have speed and memory recorded on the same hardware")
    return found


def _figure(
    comparison: Comparison, machine: str, shown: list[_Point], styles: Styles, mixed: list[str], name: str
) -> Drawing:
    figure = new_figure(2.1)
    speed, memory = figure.subplots(1, 2, sharey=True)
    for point in shown:
        style = styles[point.label].marks()
        spread = [point.spread] if point.spread else None
        for axes, value in ((speed, point.images), (memory, point.peak)):
            bar = axes.errorbar([value], [point.mean], yerr=spread, ls="", elinewidth=0.7, **style)
            bar[0].set_gid(point.label)
    _axis(speed, "training images/s of\nthese runs, no benchmark")
    _axis(memory, "peak memory of these\nruns (GiB), no benchmark")
    speed.set_ylabel(accuracy_label(comparison))
    figure.suptitle(wrapped(f"recorded on {machine}", 3.1), fontsize="medium")
    legend_below(figure, [Line2D([], [], ls="", label=p.label, **styles[p.label].marks()) for p in shown])
    caption = (
        f"{accuracy_label(comparison)} against training images per second (mean over datasets and seeds) and peak "
        f"memory (the largest of any run), as recorded on {machine}; not a benchmark: the runs may have shared the "
        "machine"
    )
    if mixed:
        caption += f"; left out, their runs were on several machines: {', '.join(mixed)}"
    return Drawing(name, figure, caption)


def _axis(axes: Axes, label: str) -> None:
    axes.margins(x=0.12, y=0.1)
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(label)
