"""A figure with its caption, drawn or planned."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """name: the last part of the file's name; caption: what it shows and how it was computed, without a full stop."""

    name: str
    figure: Figure
    caption: str


# All numbers of a figure, which any process can draw: it can be pickled, and holds no records, which are large.
Plan = Callable[[], Drawing]
