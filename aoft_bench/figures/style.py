"""How all figures look: fonts, sizes, the colour and marker of a method, and files that are the same every time."""

import hashlib
import string
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from aoft_bench.figures.fonts import WHOLE
from aoft_bench.results.settings import Row, Table
from aoft_bench.utils.files import write_atomically

WIDTH = 3.3  # inches: one column of a two-column paper
FONT_SIZE = 7.0  # points, the smallest that stays legible in print
GREY = "0.55"  # what is shown for context: published points, methods that are not singled out

RC: dict[str, Any] = {
    "font.size": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE,
    "ytick.labelsize": FONT_SIZE,
    "legend.fontsize": FONT_SIZE,
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

# one colour of Okabe and Ito (2008) a family, one marker a method within it; the first of each family differ in both
FAMILIES: dict[str, dict[str, str]] = {
    "#D55E00": {
        "aoft": "o",
        "aoft_without_lambda": "p",
        "aoft_adapter": "h",
        "aoft_vpt": "*",
        "aoft_orthogonal": "<",
        "aoft_frozen_q": ">",
        "aoft_lambda_only": "d",
    },
    "#0072B2": {
        "lora": "s",
        "lora_matched": "D",
        "fact_tt": "v",
        "fact_tk": "^",
        "bi_lora": "<",
        "hta": ">",
        "peft_dora": "X",
    },
    "#009E73": {
        "adapter": "^",
        "adapter_matched": "v",
        "adapter_houlsby": "<",
        "adapter_pfeiffer": ">",
        "adapter_plus": "P",
        "adaptformer": "D",
        "convpass": "X",
        "repadapter": "s",
    },
    "#000000": {"linear": "X", "full": "P", "partial": "^", "bitfit": "v", "norm": "D"},
    "#CC79A7": {"vpt_shallow": "v", "vpt_deep": "*"},
    "#E69F00": {"ssf": "D", "arc": "p", "rlrr": "h"},
}
OTHERS = "#56B4E9"  # of methods that no family names: a user's own
MARKERS = ("o", "s", "^", "X", "P", "D", "v", "p", "h", "<", ">", "*", "d")
FILLS = ("full", "none", "left", "right", "bottom", "top")  # variants of one method
LINES: tuple[Any, ...] = ("-", (0, (4, 1.2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)))

# singled out where there are too many rows to tell apart, in this order
FEATURED = ("aoft", "aoft_without_lambda", "aoft_adapter", "lora", "lora_matched", "adapter", "linear", "full")


@dataclass(frozen=True)
class Look:
    """How a row is drawn, in every figure."""

    color: str
    marker: str
    fill: Any
    line: Any

    def marks(self) -> dict[str, Any]:
        """Keywords of `Axes.plot` and `Axes.errorbar` for points."""
        return {"color": self.color, "marker": self.marker, "fillstyle": self.fill, "markerfacecoloralt": "white"}

    def curve(self) -> dict[str, Any]:
        """The same for a curve."""
        return {**self.marks(), "linestyle": self.line}


def looks_of_methods(methods: Iterable[str]) -> dict[str, Look]:
    """The look of each method: by family, and by a hash of its name where no family has it.

    Two of the latter never share a marker before all are taken, so it is the same in all figures of one call.
    """
    found: dict[str, Look] = {}
    taken: set[int] = set()
    for name in sorted(set(methods)):
        known = [(color, members[name]) for color, members in FAMILIES.items() if name in members]
        if known:
            ((color, marker),) = known
        else:
            index = int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(MARKERS)
            while index in taken and len(taken) < len(MARKERS):
                index = (index + 1) % len(MARKERS)
            taken.add(index)
            color, marker = OTHERS, MARKERS[index]
        found[name] = Look(color, marker, FILLS[0], LINES[MARKERS.index(marker) % len(LINES)])
    return found


def looks_of_rows(table: Table, methods: dict[str, Look]) -> dict[str, Look]:
    """The look of each row of a table by its label; variants of a method differ in filling and line."""
    found: dict[str, Look] = {}
    for method in {row.method for row in table.rows}:
        base = methods[method]
        labels = sorted(row.label for row in table.rows if row.method == method)
        start = LINES.index(base.line)
        for i, label in enumerate(labels):
            found[label] = Look(base.color, base.marker, FILLS[i % len(FILLS)], LINES[(start + i) % len(LINES)])
    return found


def featured(rows: list[Row], limit: int = len(FEATURED)) -> list[Row]:
    """All rows, or the `limit` of them that a reader looks for first, in the order of `rows`."""
    if len(rows) <= limit:
        return rows
    rank = {name: i for i, name in enumerate(FEATURED)}
    first = sorted(rows, key=lambda row: rank.get(row.method, len(rank)))[:limit]
    return [row for row in rows if row in first]


@contextmanager
def style(families: Sequence[str] = (WHOLE,)) -> Iterator[None]:
    """Draw and save in here; what matplotlibrc of the machine says does not count. families: of fonts, see `fonts`."""
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


def printable(text: str) -> str:
    """`text` with what the font cannot draw replaced."""
    known = get_font(findfont(_font())).get_charmap()
    return "".join(c if ord(c) in known else "\N{REPLACEMENT CHARACTER}" for c in text)


def text_width(text: str) -> float:
    """Width of one line at `FONT_SIZE`, in inches."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, _font(), ismath=False)
    return float(width) / 72


def wrapped(text: str, width: float) -> str:
    """`text` broken into lines of at most `width` inches: after a comma or space, else anywhere."""
    lines, line = [], ""
    for word in _words(printable(text)):
        if line and text_width((line + word).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += word
        while text_width(line.rstrip()) > width and len(line) > 1:
            cut = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or text_width(line[:n]) <= width)
            lines.append(line[:cut])
            line = line[cut:]
    return "\n".join([*lines, line.rstrip()])


def legend_below(figure: Figure, handles: list[Line2D], handle_width: float = 0.15) -> None:
    """A legend under everything, in as many columns as fit; the figure grows by its height.

    handles: artists with labels; handle_width: inches of the part before the text.
    """
    room = float(figure.get_figwidth()) - 0.1
    beside = handle_width + 0.06  # the mark and its distance from the text
    labels = [wrapped(str(handle.get_label()), room - beside) for handle in handles]
    sizes = [(max(map(text_width, label.split("\n"))) + beside, 1 + label.count("\n")) for label in labels]
    columns = next(n for n in range(min(len(labels), 4), 0, -1) if n == 1 or _legend_width(sizes, n) <= room)
    lines = max(sum(lines for _, lines in column) for column in _in_columns(sizes, columns))
    figure.set_figheight(float(figure.get_figheight()) + (lines * 1.42 + 0.6) * FONT_SIZE / 72)
    length = handle_width * 72 / FONT_SIZE
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=length)


def _legend_width(sizes: list[tuple[float, int]], columns: int) -> float:
    gap = FONT_SIZE / 72
    return sum(max(width for width, _ in column) + gap for column in _in_columns(sizes, columns)) - gap


def _in_columns(entries: list[Any], columns: int) -> list[list[Any]]:
    """As matplotlib fills a legend: column by column, the first ones longer by one where it does not go even."""
    short, longer = divmod(len(entries), columns)
    filled, start = [], 0
    for i in range(columns):
        stop = start + short + (i < longer)
        filled.append(entries[start:stop])
        start = stop
    return filled


def _font() -> FontProperties:
    return FontProperties(family=WHOLE, size=FONT_SIZE)


def _words(text: str) -> list[str]:
    words, word = [], ""
    for c in text:
        word += c
        if c in string.whitespace + ",":
            words.append(word)
            word = ""
    return [*words, word] if word else words
