"""A figure with its caption, drawn or still to be drawn."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """name: the last part of the file's name; caption: what it shows and how it was computed, without a full stop."""

    name: str
    figure: Figure
    caption: str


# Draws one figure, in any process: it can be pickled, holds all numbers of the figure, and no records, which are large.
Plan = Callable[[], Drawing]
