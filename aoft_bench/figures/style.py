"""How figures look and are saved: fonts, sizes, resolution, and files that are the same every time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from aoft_bench.figures.fonts import WHOLE
from aoft_bench.utils.files import write_atomically

WIDTH = 3.3  # inches: one column of a two-column paper
FONT_SIZE = 7.0  # points, the smallest that stays legible in print
GREY = "0.55"  # what is shown for context: published points, methods that are not singled out

RC: dict[str, Any] = {
    "font.size": FONT_SIZE,  # labels of axes and ticks and legends have it by default
    "axes.titlesize": FONT_SIZE,
    "text.parse_math": False,  # a $ in a label is a $
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlepad": 3,
    "axes.labelpad": 2,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 0.8,
    "errorbar.capsize": 1.5,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.0,
    "legend.labelspacing": 0.25,
    "legend.borderaxespad": 0.2,
    "pdf.fonttype": 42,  # embedded TrueType: publishers refuse Type 3
}


@contextmanager
def drawing_style(families: Sequence[str] = (WHOLE,)) -> Iterator[None]:
    """Within it figures look as `RC` says, whatever matplotlibrc says. families: names of fonts, see `fonts`."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC | {"font.family": list(families)})  # type: ignore[arg-type]
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure (inches) that lays itself out."""
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03)
    return Figure(figsize=(width, height), layout=layout, dpi=300)


def settle(figure: Figure) -> None:
    """Lay the figure out now and for good; afterwards positions in pixels are known."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.execute(figure)
        figure.set_layout_engine("none")


def save(figure: Figure, path: Path) -> list[Path]:
    """Write `path` with .pdf and .png (300 dpi) appended, without dates or versions; returns both."""
    png, pdf = (path.with_name(f"{path.name}.{kind}") for kind in ("png", "pdf"))
    # not by `savefig`, which draws everything twice
    write_atomically(png, lambda partial: _png(figure, partial))
    figure.set_layout_engine("none")  # the PDF is laid out as the PNG was
    write_atomically(pdf, lambda partial: _pdf(figure, partial))
    return [pdf, png]


def _png(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})  # type: ignore[no-untyped-call]


def _pdf(figure: Figure, path: Path) -> None:
    unmarked = {"CreationDate": None, "Creator": None, "Producer": None}
    FigureCanvasPdf(figure).print_pdf(path, metadata=unmarked)  # type: ignore[no-untyped-call]
