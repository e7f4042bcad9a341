"""Accuracy against trained parameters, with the Pareto front and, where they may stand beside it, published points."""

import math
from functools import partial

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.points import APART, NAMED, label_points, mark_size, move_apart
from aoft_bench.figures.series import Styles, legend_marks
from aoft_bench.figures.style import GREY, new_figure
from aoft_bench.figures.text import legend_below
from aoft_bench.figures.ticks import log_ticks
from aoft_bench.figures.values import accuracy_label, complete, pareto_front, without_records
from aoft_bench.results.settings import Comparison


def plans(comparison: Comparison, styles: Styles, published: list[tuple[float, float]]) -> list[Plan]:
    """One figure; raises `NothingToDrawError`. published: (trained parameters, top-1 in %) of the same benchmark."""
    shown = [(row.label, row.trained, mean, spread) for row, mean, spread in complete(comparison)]
    return [partial(_figure, without_records(comparison), shown, styles, published)]


def _figure(
    comparison: Comparison,
    shown: list[tuple[str, float, float, float]],
    styles: Styles,
    published: list[tuple[float, float]],
) -> Drawing:
    figure = new_figure(2.2)
    axes = figure.add_subplot()
    points = [(trained, mean) for _, trained, mean, _ in shown]
    front = pareto_front(points)
    handles: list[Line2D] = []
    if published:
        at = zip(*published, strict=True)
        (grey,) = axes.plot(*at, "d", ms=3, mfc="none", color=GREY, label="published", gid="published")
        handles.append(grey)
    xs, ys = zip(*(points[i] for i in front), strict=True)
    (line,) = axes.step(
        xs, ys, where="post", color="0.4", lw=0.8, ls=(0, (3, 2)), label="Pareto front", gid="front", zorder=1.5
    )
    marks = {}
    for label, trained, mean, spread in shown:
        style = styles[label].marks() | mark_size(len(shown))
        bar = axes.errorbar([trained], [mean], yerr=[spread] if spread else None, ls="", elinewidth=0.7, **style)
        bar[0].set_gid(label)
        marks[label] = bar[0]
    _parameter_axis(axes, [x for x, _ in points + published])
    axes.margins(y=0.14)
    axes.set_ylabel(accuracy_label(comparison))
    if len(shown) > NAMED:
        handles += legend_marks(marks, styles)
    legend_below(figure, [*handles, line], plot=2.2)
    moved = move_apart(axes, marks)
    corners = [(x1, y0) for (x1, _), y0 in zip([points[i] for i in front[1:]], ys, strict=False)]
    steps = [(points[i], corner) for i, corner in zip(front, corners, strict=False)]
    steps += [(corner, points[i]) for corner, i in zip(corners, front[1:], strict=True)]
    bars = [((x, y - spread), (x, y + spread)) for _, x, y, spread in shown if spread]
    label_points(axes, [shown[i][0] for i in front] if len(shown) > NAMED else marks, marks, moved, steps, bars)
    caption = (
        f"{accuracy_label(comparison)} against trained parameters without the head; bars: standard deviation over "
        "seeds; dashed: Pareto front of the methods run here"
    )
    if any(moved.values()):
        caption += f"; {APART}"
    if published:
        caption += (
            f"; grey: {len(published)} published rows of the same tasks and architecture, as printed by their authors "
            "(other protocols: most keep the best test epoch)"
        )
    left_out = [row.label for row in comparison.rows if row.label not in {label for label, *_ in shown}]
    if left_out:
        caption += f"; without all datasets, so left out: {', '.join(left_out)}"
    return Drawing("parameters", figure, caption)


def _parameter_axis(axes: Axes, values: list[float]) -> None:
    """A logarithmic axis, with a place for 0 where a method trains nothing but the head."""
    positive = [v for v in values if v > 0] or [1.0]
    low, high = min(positive), max(positive)
    if min(values) > 0:
        axes.set_xscale("log")
        left, right = low / 1.7, high * 1.7
    else:
        low = 10.0 ** math.floor(math.log10(low))
        axes.set_xscale("symlog", linthresh=low, linscale=0.4)
        left, right = -0.35 * low, high * 2
    axes.set_xlim(left, right)
    log_ticks(axes.xaxis, left if left > 0 else low, right, zero=min(values) == 0)
    axes.set_xlabel("trained parameters, without the head")
