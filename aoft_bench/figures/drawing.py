"""A drawn figure with its caption."""

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """name: the last part of the file's name; caption: what it shows and how it was computed, without a full stop."""

    name: str
    figure: Figure
    caption: str
