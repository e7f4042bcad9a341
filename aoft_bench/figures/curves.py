"""Learning curves: training loss and, where it was recorded, accuracy by epoch."""

from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from aoft_bench.data.tasks import find
from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.series import SeriesStyle, Styles, featured
from aoft_bench.figures.style import GREY, new_figure
from aoft_bench.figures.text import legend_below
from aoft_bench.figures.ticks import log_ticks
from aoft_bench.figures.values import NothingToDrawError, curves, without_records
from aoft_bench.results.settings import Comparison
from aoft_bench.results.statistics import pool_of

# curve in the record -> (name of the figure, label of its axis)
KINDS = {
    "train_loss": ("loss", "training loss"),
    "val200_top1": ("val200", "val200 top-1 (%)"),
    "test_top1": ("test", "test top-1 (%)"),
}

Values = np.ndarray[Any, np.dtype[np.float64]]  # (seeds, epochs)
Panel = dict[str, Values]  # of one task, by the label of the row
MOST_PANELS = 8  # of one figure; more tasks are split by group


def plans(comparison: Comparison, styles: Styles) -> list[Plan]:
    """One figure a kind of curve and group of tasks, one panel a task; raises `NothingToDrawError`."""
    tasks = pool_of(comparison).tasks
    groups: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        groups[find(task).group if len(tasks) > MOST_PANELS else ""].append(task)
    planned: list[Plan] = []
    small = without_records(comparison)
    for key, (name, label) in KINDS.items():
        for group, members in groups.items():
            panels: dict[str, Panel] = {}
            for task in members:
                curve = {row.label: curves(row, task, key) for row in comparison.rows}
                if panel := {label: values for label, values in curve.items() if values.shape[1] > 1}:
                    panels[task] = panel
            if panels:
                suffix = f"-{group}" if group else ""
                planned.append(partial(_figure, small, key, panels, styles, f"curves-{name}{suffix}", label))
    if not planned:
        raise NothingToDrawError("no curve of more than one epoch is recorded")
    return planned


def _figure(comparison: Comparison, key: str, data: dict[str, Panel], styles: Styles, name: str, label: str) -> Drawing:
    columns = min(2, len(data))
    lines = -(-len(data) // columns)
    figure = new_figure(0.3 + (1.15 if columns > 1 else 1.7) * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True)
    rows = [row for row in comparison.rows if any(row.label in panel for panel in data.values())]
    shown = [row.label for row in featured(rows)]
    others = [row.label for row in rows if row.label not in shown]
    for axes, (task, panel) in zip(panels.flat, data.items(), strict=False):
        _context(axes, [panel[label] for label in others if label in panel])
        for number, label_ in enumerate(shown):
            if label_ in panel:
                _curve(axes, panel[label_], styles[label_], label_, number)
        axes.set_title(comparison.header(task))
        _scale(axes, list(panel.values()), key)
    if len(data) % columns:
        panels[-1, -1].set_visible(False)
        panels[-2, -1].tick_params(labelbottom=True)
    for axes in [*panels[-1], *(panels[-2, 1:] if len(data) % columns else [])]:
        axes.set_xlabel("epoch")
    figure.supylabel(label, fontsize="medium")
    handles = [Line2D([], [], label=label_, **styles[label_].curve()) for label_ in shown]
    if others:
        handles.append(Line2D([], [], color=GREY, lw=0.5, label=f"{len(others)} other methods"))
    legend_below(figure, handles, handle_width=0.27)
    caption = f"{label} by epoch; mean over seeds, band from the smallest to the largest seed"
    if key == "train_loss":
        caption += "; the loss is the mean over the batches of the epoch, while the weights change"
    if others:
        caption += f"; grey, means only: {', '.join(others)}"
    return Drawing(name, figure, caption)


def _context(axes: Axes, curves_: list[Values]) -> None:
    """Draw the means of rows that have no colour of their own."""
    if curves_:
        lines = [np.column_stack([np.arange(1, found.shape[1] + 1), found.mean(axis=0)]) for found in curves_]
        axes.add_collection(LineCollection(lines, colors=GREY, linewidths=0.5, alpha=0.6, zorder=1.5, gid="others"))


def _curve(axes: Axes, found: Values, style: SeriesStyle, label: str, number: int) -> None:
    """Draw mean and band of one row. number: its index in the legend, by which its markers are shifted."""
    seeds, epochs = found.shape
    at = np.arange(1, epochs + 1)
    every = max(1, epochs // 4)
    axes.plot(at, found.mean(axis=0), markevery=(number % every, every), ms=3, gid=label, **style.curve())
    if seeds > 1:
        band = axes.fill_between(at, found.min(axis=0), found.max(axis=0), color=style.color, alpha=0.15, lw=0)
        band.set_gid(f"{label} band")


def _scale(axes: Axes, found: list[Values], key: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    low, high = min(values.min() for values in found), max(values.max() for values in found)
    if key == "train_loss" and low >= 1e-6 and high / low > 2:  # records round losses to 1e-6
        axes.set_yscale("log")
        axes.set_ylim(low / (high / low) ** 0.05, high * (high / low) ** 0.05)
        log_ticks(axes.yaxis, *axes.get_ylim(), minor=False)
    else:
        axes.autoscale_view()
