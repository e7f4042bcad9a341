"""Text that fits: its width, line breaks, and legends below a figure."""

import re
from bisect import bisect_right
from itertools import pairwise
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from aoft_bench.figures.fonts import WHOLE
from aoft_bench.figures.style import FONT_SIZE

LONGEST = 300  # characters of a label
_AXIS = 0.5  # inches that the ticks and the label of an axis take of a plot


def printable(text: str) -> str:
    """`text` with what the font cannot draw replaced, and cut where it is too long for a figure."""
    known = get_font(findfont(_font())).get_charmap()
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(c if ord(c) in known else "\N{REPLACEMENT CHARACTER}" for c in short)


def text_width(text: str) -> float:
    """Width of one line at `FONT_SIZE`, in inches."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, _font(), ismath=False)
    return float(width) / 72


def wrapped(text: str, width: float) -> str:
    """`text` broken into lines of at most `width` inches: after a comma or space, else anywhere."""
    lines, line = [], ""
    for word in re.findall(r"[^\s,]*[\s,]|[^\s,]+", printable(text), re.ASCII):
        if line and text_width((line + word).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += word
        while text_width(line.rstrip()) > width and len(line) > 1:
            cut = max(1, bisect_right(range(1, len(line)), width, key=lambda n: text_width(line[:n])))
            lines.append(line[:cut])
            line = line[cut:]
    return "\n".join([*lines, line.rstrip()])


def legend_below(figure: Figure, handles: list[Line2D], handle_width: float = 0.15, plot: float = 0.0) -> None:
    """A legend under everything, in as many columns as fit; the figure grows.

    handle_width: inches before the text; plot: inches of the height so far that grow with a tall legend, so that it
    never takes more room than what it explains.
    """
    room = float(figure.get_figwidth()) - 0.1
    beside = handle_width + 0.06  # the mark and its distance from the text
    labels = [wrapped(str(handle.get_label()), room - beside) for handle in handles]
    sizes = [(max(map(text_width, label.split("\n"))) + beside, 1 + label.count("\n")) for label in labels]
    columns = next(n for n in range(min(len(labels), 4), 0, -1) if n == 1 or _legend_width(sizes, n) <= room)
    lines = max(sum(lines for _, lines in column) for column in _in_columns(sizes, columns))
    legend = (lines * 1.42 + 0.6) * FONT_SIZE / 72
    taller = max(0.0, legend + _AXIS - plot) if plot else 0.0
    figure.set_figheight(float(figure.get_figheight()) + legend + taller)
    length = handle_width * 72 / FONT_SIZE
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=length)


def _legend_width(sizes: list[tuple[float, int]], columns: int) -> float:
    gap = FONT_SIZE / 72
    return sum(max(width for width, _ in column) + gap for column in _in_columns(sizes, columns)) - gap


def _in_columns(entries: list[Any], columns: int) -> list[list[Any]]:
    """As matplotlib fills a legend: column by column, the first ones longer by one where it does not go even."""
    short, longer = divmod(len(entries), columns)
    starts = [i * short + min(i, longer) for i in range(columns + 1)]
    return [entries[start:stop] for start, stop in pairwise(starts)]


def _font() -> FontProperties:
    return FontProperties(family=WHOLE, size=FONT_SIZE)
