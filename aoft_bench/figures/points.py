"""Points of a scatter plot: none hides another, and names stand beside them without touching."""

from collections.abc import Iterable, Mapping
from itertools import combinations, product
from math import hypot
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox, ScaledTranslation

from aoft_bench.figures.style import FONT_SIZE, settle
from aoft_bench.figures.text import printable, text_width

NAMED = 12  # points up to which each has its name beside it; the marks of more are smaller
APART = "marks that would cover one another are moved sideways, a line leads to their place"

Point = tuple[float, float]

# (dx, dy) in points from the mark to the nearest corner or side of the text, and where the text is anchored
_NEAR = [
    (-4, 0, "right", "center"),  # left of and above a Pareto front is free
    (-4, 4, "right", "bottom"),
    (0, 4, "center", "bottom"),
    (4, 0, "left", "center"),
    (4, 4, "left", "bottom"),
    (4, -4, "left", "top"),
    (0, -4, "center", "top"),
    (-4, -4, "right", "top"),
    (0, 10, "center", "bottom"),
    (0, -10, "center", "top"),
]
_SIDES = [(-1, 0), (-1, 1), (1, 0), (1, -1), (0, 1), (0, -1), (-1, -1), (1, 1), (-1, 0.5), (1, 0.5), (1, -0.5)]
_ACROSS: dict[float, str] = {-1: "right", 0: "center", 1: "left"}
_UP = {-1: "top", 0: "center", 1: "bottom"}
# further away, with a line from the mark to the text
_FAR = [
    (far * dx, far * dy, _ACROSS[dx], _UP[(dy > 0) - (dy < 0)]) for far in (12, 20, 30, 42, 56) for dx, dy in _SIDES
]
_PAPER = {"boxstyle": "square,pad=0.05", "facecolor": "white", "alpha": 0.7, "linewidth": 0}
_STYLE: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False, "bbox": _PAPER}
_SHARE = {"left": 0.0, "bottom": 0.0, "center": 0.5, "right": 1.0, "top": 1.0}


def mark_size(points: int) -> dict[str, float]:
    """Keywords of the marks of a plot with so many points."""
    return {"markersize": 3.5} if points > NAMED else {}


def move_apart(axes: Axes, marks: Mapping[str, Line2D]) -> dict[str, float]:
    """Move marks that cover one another sideways; returns by how much, in points, by name.

    Their data stay what they are. Call it when the axes have their limits, for the layout is settled then.
    """
    figure = _settled(axes)
    scale = 72 / figure.dpi
    names = list(marks)
    places = [axes.transData.transform(_at(mark)) * scale for mark in marks.values()]
    size = max((float(mark.get_markersize()) for mark in marks.values()), default=0.0) + 0.5
    moved = dict(zip(names, _shifts([(float(x), float(y)) for x, y in places], size), strict=True))
    for name, shift in moved.items():
        if shift:
            mark = marks[name]
            mark.set_transform(axes.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans))
            x, y = axes.transData.transform(_at(mark))
            axes.plot(*_line(axes, (x, y), (x + shift / scale, y)), color=mark.get_color(), lw=0.6)
    return moved


def label_points(
    axes: Axes,
    names: Iterable[str],
    marks: Mapping[str, Line2D],
    moved: Mapping[str, float],
    lines: list[tuple[Point, Point]],
    bars: list[tuple[Point, Point]],
) -> None:
    """Write the names of some marks beside them, where there is room.

    moved: see `move_apart`; lines, bars: (start, end) of horizontal and vertical lines in data coordinates. A name
    crosses a line only where it finds no other place, and a bar never.
    """
    figure = _settled(axes)
    pixel = figure.dpi / 72  # pixels of a point
    frame = axes.get_window_extent()
    places = {}
    for name, mark in marks.items():
        x, y = axes.transData.transform(_at(mark))
        places[name] = (float(x) + moved[name] * pixel, float(y))
    taken = [_around(place, 3 * pixel) for place in places.values()] + _boxes(axes, bars)
    crossed = _boxes(axes, lines)
    for name in names:
        text = printable(name)
        x, y = places[name]
        width, height = text_width(text) * figure.dpi, FONT_SIZE * pixel
        # further from other marks than from its own, so that it is seen whose name it is
        others = [_around(place, 5 * pixel) for other, place in places.items() if other != name]
        for avoided, (dx, dy, across, up) in product((crossed, []), [*_NEAR, *_FAR]):
            left, low = x + dx * pixel - _SHARE[across] * width, y + dy * pixel - _SHARE[up] * height
            box = Bbox.from_extents(left - pixel / 2, low, left + width + pixel / 2, low + height)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            far = max(abs(dx), abs(dy)) >= 10
            lead = _along(x, y, dx * pixel, dy * pixel) if far else []
            blocked = any(new.overlaps(old) for new in (box, *lead) for old in (*avoided, *taken))
            if inside and not blocked and not any(box.overlaps(other) for other in others):
                at = (dx + moved[name], dy)
                axes.annotate(text, _at(marks[name]), at, ha=across, va=up, **_STYLE)
                if far:
                    part = 3.5 / hypot(dx, dy)  # it starts at the edge of the mark
                    start = (x + part * dx * pixel, y + part * dy * pixel)
                    end = (x + dx * pixel, y + dy * pixel)
                    axes.plot(*_line(axes, start, end), color="0.5", lw=0.5, zorder=1.8)
                taken += [box, *lead]
                break


def _settled(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    settle(figure)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # what is added does not change the limits
    return figure


def _at(mark: Line2D) -> Point:
    ((x, y),) = np.asarray(mark.get_xydata(), dtype=float)
    return float(x), float(y)


def _around(place: Point, half: float) -> Bbox:
    x, y = place
    return Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half)


def _boxes(axes: Axes, lines: list[tuple[Point, Point]]) -> list[Bbox]:
    found = []
    for start, end in lines:
        (x0, y0), (x1, y1) = axes.transData.transform([start, end])
        found.append(Bbox.from_extents(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    return found


def _along(x: float, y: float, dx: float, dy: float) -> list[Bbox]:
    """Small boxes along the line from a mark to its name, but for where it leaves the mark."""
    return [_around((x + part * dx, y + part * dy), 1) for part in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.95)]


def _line(axes: Axes, start: Point, end: Point) -> tuple[list[float], list[float]]:
    """(x, y) in data coordinates of a line between two places in pixels."""
    (x0, y0), (x1, y1) = axes.transData.inverted().transform([start, end])
    return [float(x0), float(x1)], [float(y0), float(y1)]


def _shifts(places: list[Point], size: float) -> list[float]:
    """By how much to move each place sideways so that any two are `size` apart, or nearly where many are at one."""
    x = [place[0] for place in places]
    order = sorted(range(len(x)), key=lambda i: (x[i], i))
    close = [
        (i, j, (size**2 - (places[i][1] - places[j][1]) ** 2) ** 0.5)
        for i, j in combinations(order, 2)
        if abs(places[i][1] - places[j][1]) < size
    ]
    for _ in range(100):
        still = True
        for i, j, apart in close:
            if x[j] - x[i] < apart - 0.01:
                middle = (x[i] + x[j]) / 2
                x[i], x[j] = middle - apart / 2, middle + apart / 2
                still = False
        if still:
            break
    return [after - before if abs(after - before) > 0.05 else 0.0 for after, (before, _) in zip(x, places, strict=True)]
