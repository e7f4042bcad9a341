"""Histograms of pairwise angles, each with the density of random Gaussian vectors of the same length."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aoft_bench.analysis.gaussian import density, reference
from aoft_bench.analysis.inputs import MatrixSet
from aoft_bench.analysis.matrices import Array, LayerMatrix, Part, Vectors
from aoft_bench.analysis.measures import angles
from aoft_bench.backbones.layout import Target
from aoft_bench.figures.drawing import Drawing
from aoft_bench.figures.series import Styles
from aoft_bench.figures.style import new_figure
from aoft_bench.figures.text import legend_below

FULL_WIDTH = 6.9  # inches: both columns of a two-column paper
REFERENCE: dict[str, Any] = {"color": "black", "linestyle": (0, (3, 1.5)), "linewidth": 0.9}
START = "0.8"
BIN = 0.25  # degrees
PAPER = {"proj": "W_o", "fc1": "W_fc1", "fc2": "W_fc2"}

# what the panels of a method show: (part, its vectors); D vectors in R^d cannot be near-orthogonal, and stand last
SIDES: tuple[tuple[Part, Vectors], ...] = (("down", "columns"), ("up", "rows"), ("down", "rows"), ("up", "columns"))


@dataclass(frozen=True)
class Histogram:
    """Angles of many matrices. counts: how many in each bin of `BIN` degrees from 0 to 180; length: the shortest of
    their vectors; too_many: more vectors than dimensions."""

    counts: Array
    length: int
    too_many: bool


def histogram(matrices: Iterable[LayerMatrix], which: Vectors) -> Histogram | None:
    """The angles of all of them; None where there is no pair."""
    vectors = [matrix.vectors(which) for matrix in matrices]
    counts = np.zeros(round(180 / BIN))
    for one in vectors:
        counts += np.histogram(angles(one), len(counts), (0, 180))[0]
    if not counts.any():
        return None
    return Histogram(counts, min(one.shape[1] for one in vectors), any(one.shape[0] > one.shape[1] for one in vectors))


def of_backbone(backbone: MatrixSet) -> Drawing:
    """One panel a matrix and side, one line a layer."""
    targets = get_args(Target)
    figure = new_figure(2.7, FULL_WIDTH)
    panels = figure.subplots(2, len(targets), squeeze=False, sharex=True)
    colors = matplotlib.colormaps["cividis"]
    layers = 1 + max(matrix.layer for matrix in backbone.matrices)
    kinds: tuple[Vectors, ...] = ("columns", "rows")
    histograms = {
        (which, target): [one for m in backbone.matrices if m.name == target and (one := histogram([m], which))]
        for which in kinds
        for target in targets
    }
    span = _span(one for found in histograms.values() for one in found)
    for line, which in zip(panels, kinds, strict=True):
        for axes, target in zip(line, targets, strict=True):
            found = histograms[which, target]
            for layer, one in enumerate(found):
                axes.stairs(*_heights(one, span), color=colors(layer / max(1, layers - 1)), lw=0.6)
            _reference_and_axes(axes, found, span)
            mark = "*" if any(one.too_many for one in found) else ""
            axes.set_title(f"{PAPER.get(target, f'W_{target}')}, {which}{mark}")
        line[0].set_ylabel("density")
    for axes in panels[-1]:
        axes.set_xlabel("angle (°)")
    scale = ScalarMappable(Normalize(1, max(2, layers)), colors)
    bar = figure.colorbar(scale, ax=panels, aspect=30, pad=0.01, label="layer")
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    legend_below(figure, [Line2D([], [], label="random Gaussian vectors of the same length", **REFERENCE)], 0.27)
    caption = (
        f"{backbone.backbone}, weights {backbone.weights[:12]}: angles between the columns and between the rows of "
        "each matrix W (in, out), one line a layer; * more vectors than dimensions, so that not all can be orthogonal"
    )
    return Drawing("angles", figure, caption)


def of_methods(sets: list[MatrixSet], styles: Styles) -> list[Drawing]:
    """One line of panels for each row; rows with a single vector a matrix (rank 1) have no angles."""
    drawings = []
    short = "D vectors of length d < D, which can never be near-orthogonal, whatever the method"
    for name, sides, about in (
        ("angles", SIDES[:2], "those that can be orthogonal"),
        ("angles-short", SIDES[2:], short),
    ):
        histograms = {
            label: {
                (state, side): histogram(_matrices(sets, label, state, side[0]), side[1])
                for state in ("start", "trained")
                for side in sides
            }
            for label in styles
        }
        shown = [label for label in styles if any(histograms[label].values())]
        if name == "angles-short":  # of rank 1 these are numbers, 0 or 180 degrees apart
            shown = [label for label in shown if any(p and p.length > 1 for p in histograms[label].values())]
        if shown:
            drawings.append(_by_method(name, sides, about, {label: histograms[label] for label in shown}, styles))
    return drawings


def _by_method(
    name: str,
    sides: tuple[tuple[Part, Vectors], ...],
    about: str,
    histograms: dict[str, dict[Any, Histogram | None]],
    styles: Styles,
) -> Drawing:
    figure = new_figure(0.35 + 0.75 * len(histograms))
    panels = figure.subplots(len(histograms), len(sides), squeeze=False, sharex=True)
    every = [one for found in histograms.values() for one in found.values() if one]
    span = 90.0 if name == "angles-short" else _span(every)
    mark = "*" if name == "angles-short" else ""
    for line, (label, found) in zip(panels, histograms.items(), strict=True):
        for axes, side in zip(line, sides, strict=True):
            start, trained = found["start", side], found["trained", side]
            if start:
                axes.stairs(*_heights(start, span), fill=True, color=START)
            if trained:
                axes.stairs(*_heights(trained, span), color=styles[label].color, lw=0.9)
            _reference_and_axes(axes, [one for one in (start, trained) if one], span)
        line[0].set_ylabel(label if len(label) < 16 else label.replace("_", "_\n").replace(" ", "\n"))
    for axes, side in zip(panels[0], sides, strict=True):
        axes.set_title(f"W_{side[0]}, {side[1]}{mark}")
    for axes in panels[-1]:
        axes.set_xlabel("angle (°)")
    handles: list[Any] = [
        Patch(color=START, label="at the start"),
        Line2D([], [], color="0.3", lw=0.9, label="trained"),
        Line2D([], [], label="random Gaussian", **REFERENCE),
    ]
    legend_below(figure, handles, 0.27)
    caption = (
        f"angles between the columns or rows of W_down (in, d) and W_up (d, out) ({about}), of all layers, matrices, "
        "datasets and seeds together, as densities: each panel has its own vertical scale; "
        "dashed: Gaussian vectors of the shortest length there"
    )
    return Drawing(name, figure, caption)


def _matrices(sets: list[MatrixSet], label: str, state: str, part: Part) -> list[LayerMatrix]:
    chosen = [one for one in sets if one.row == label and one.state == state]
    return [matrix for one in chosen for matrix in one.matrices if matrix.part == part]


def _span(histograms: Iterable[Histogram]) -> float:
    """Half the width of the axis in degrees: 99 % of the angles, and four standard deviations of random ones."""
    reach = [0.0]
    for one in histograms:
        below, above = one.counts.reshape(2, -1)  # of 90 degrees
        both = np.cumsum(below[::-1] + above)
        reach.append(BIN * (1 + int(np.searchsorted(both, 0.99 * both[-1]))))
        reach.append(4 * (reference(2, one.length).std_angle or 0))
    return min(90.0, 5 * float(np.ceil(max(reach) / 5)))


def _heights(one: Histogram, span: float) -> tuple[Array, Array]:
    """(densities, edges) of the bins that show 90 - span to 90 + span."""
    together = next(n for n in (2, 4, 10) if 2 * span / (n * BIN) <= 90)
    shown = one.counts.reshape(-1, together).sum(axis=1) / (one.counts.sum() * together * BIN)
    return shown, np.linspace(0, 180, len(shown) + 1)


def _reference_and_axes(axes: Axes, histograms: list[Histogram], span: float) -> None:
    for length in sorted({one.length for one in histograms if one.length > 1}):
        at = np.linspace(max(90 - span, 0.1), min(90 + span, 179.9), 400)
        axes.plot(at, density(length, at), **REFERENCE)
    axes.set_xlim(90 - span, 90 + span)
    axes.set_ylim(bottom=0)
    step = 45 if span > 60 else 30 if span > 40 else 20 if span > 20 else 10
    axes.set_xticks([tick for tick in range(181) if (tick - 90) % step == 0 and abs(tick - 90) <= span])
    axes.set_yticks([])
    axes.grid(False)
