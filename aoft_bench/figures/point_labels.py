"""Names beside points, placed where they touch neither each other nor a point."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from aoft_bench.figures.style import FONT_SIZE, settle
from aoft_bench.figures.text import printable, text_width

Point = tuple[float, float]

# (dx, dy) in points from the point to the nearest corner or side of the text, and where the text is anchored
_OFFSETS = [
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
_PAPER = {"boxstyle": "square,pad=0.05", "facecolor": "white", "alpha": 0.7, "linewidth": 0}
_STYLE: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False, "bbox": _PAPER}
_SHARE = {"left": 0.0, "bottom": 0.0, "center": 0.5, "right": 1.0, "top": 1.0}


def label_points(
    axes: Axes, names: list[str], points: list[Point], marks: list[Point], lines: list[tuple[Point, Point]]
) -> None:
    """Write `names` beside `points`, those for which there is room. All in data coordinates.

    marks: all points drawn; lines: (start, end) of horizontal and vertical lines that names must not cross. Call it
    when the axes have their limits and everything else is drawn, for the layout is settled then.
    """
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    settle(figure)
    pixel = figure.dpi / 72  # pixels of a point
    frame = axes.get_window_extent()
    taken = [
        Bbox.from_bounds(x - 3 * pixel, y - 3 * pixel, 6 * pixel, 6 * pixel) for x, y in axes.transData.transform(marks)
    ]
    for start, end in lines:
        (x0, y0), (x1, y1) = axes.transData.transform([start, end])
        taken.append(Bbox.from_extents(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    for name, point in zip(map(printable, names), points, strict=True):
        x, y = axes.transData.transform(point)
        width, height = text_width(name) * figure.dpi, FONT_SIZE * pixel
        for dx, dy, across, up in _OFFSETS:
            left, low = x + dx * pixel - _SHARE[across] * width, y + dy * pixel - _SHARE[up] * height
            box = Bbox.from_extents(left, low, left + width, low + height)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                axes.annotate(name, point, (dx, dy), ha=across, va=up, **_STYLE)
                taken.append(box)
                break
