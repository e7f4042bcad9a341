"""What the runs cost against their accuracy, as recorded: speed of training and peak memory."""

import statistics
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.points import APART, NAMED, label_points, mark_size, move_apart
from aoft_bench.figures.series import Styles, legend_marks
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
    figure = new_figure(3.6)
    panels = figure.subplots(2, 1, sharey=True)
    marks: list[dict[str, Line2D]] = [{}, {}]
    for point in shown:
        style = styles[point.label].marks() | mark_size(len(shown))
        spread = [point.spread] if point.spread else None
        for axes, value, drawn in zip(panels, (point.images, point.peak), marks, strict=True):
            bar = axes.errorbar([value], [point.mean], yerr=spread, ls="", elinewidth=0.7, **style)
            bar[0].set_gid(point.label)
            drawn[point.label] = bar[0]
    _axis(panels[0], "training images/s of these runs, no benchmark")
    _axis(panels[1], "peak memory of these runs (GiB), no benchmark")
    for axes in panels:
        axes.set_ylabel(wrapped(accuracy_label(comparison), 1.2))
    figure.suptitle(wrapped(f"recorded on {machine}", 3.1), fontsize="medium")
    if len(shown) > NAMED:
        legend_below(figure, legend_marks(marks[0], styles), plot=3.0)
    moved = [move_apart(axes, drawn) for axes, drawn in zip(panels, marks, strict=True)]
    if len(shown) <= NAMED:
        for axes, drawn, shifts, key in zip(panels, marks, moved, ("images", "peak"), strict=True):
            bars = [
                ((getattr(p, key), p.mean - p.spread), (getattr(p, key), p.mean + p.spread)) for p in shown if p.spread
            ]
            label_points(axes, drawn, drawn, shifts, [], bars)
    caption = (
        f"{accuracy_label(comparison)} against training images per second (mean over datasets and seeds) and peak "
        f"memory (the largest of any run), as recorded on {machine}; not a benchmark: the runs may have shared the "
        "machine"
    )
    if any(any(shifts.values()) for shifts in moved):
        caption += f"; {APART}"
    if mixed:
        caption += f"; left out, their runs were on several machines: {', '.join(mixed)}"
    return Drawing(name, figure, caption)


def _axis(axes: Axes, label: str) -> None:
    axes.margins(x=0.18, y=0.1)  # room for names at the sides
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(label)
