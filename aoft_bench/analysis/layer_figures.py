"""Norms, coherence and angles by layer: of a backbone's matrices, and of methods beside each other."""

from collections import defaultdict
from typing import Any, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from aoft_bench.analysis.angle_figures import FULL_WIDTH, PAPER, REFERENCE
from aoft_bench.analysis.summary import Measurement
from aoft_bench.backbones.layout import Target
from aoft_bench.figures.drawing import Drawing
from aoft_bench.figures.series import MARKERS, SeriesStyle, Styles
from aoft_bench.figures.style import new_figure
from aoft_bench.figures.text import legend_below
from aoft_bench.figures.ticks import log_ticks

OKABE_ITO = ("#0072B2", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#E69F00")
TITLES = {"down": "W_down", "up": "W_up", "update": "update"}
LONG = {"down": "columns", "up": "rows"}
MEASURES = {
    "mean_abs_from_90": "mean |90 − angle| (°)",
    "coherence": "mutual coherence",
    "gram_unit": "‖UUᵀ − I‖ of unit vectors",
}


def of_backbone(rows: list[Measurement]) -> Drawing:
    """Spectral norms of the six matrices, and of Gaussian ones of the same shape and Frobenius norm."""
    figure = new_figure(2.0)
    axes = figure.subplots()
    handles = []
    for target, color, marker in zip(get_args(Target), OKABE_ITO, MARKERS, strict=False):
        mine = [row for row in rows if row["matrix"] == target and row["vectors"] == "columns"]
        at = [row["layer"] + 1 for row in mine]
        mark: dict[str, Any] = {"color": color, "marker": marker, "markersize": 3.5}
        axes.plot(at, [row["spectral_norm"] for row in mine], **mark)
        axes.plot(at, [row["gaussian_spectral_norm"] for row in mine], color=color, lw=0.8, ls=REFERENCE["linestyle"])
        handles.append(Line2D([], [], label=PAPER.get(target, f"W_{target}"), **mark))
    handles.append(Line2D([], [], color="0.3", lw=0.8, ls=REFERENCE["linestyle"], label="random Gaussian"))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("spectral norm")
    _layers(axes)
    legend_below(figure, handles, 0.27)
    caption = (
        f"{rows[0]['backbone']}, weights {rows[0]['weights']}: spectral norms by layer; dashed: a Gaussian matrix of "
        "the same shape and Frobenius norm"
    )
    return Drawing("spectral-norms", figure, caption)


def of_methods(rows: list[Measurement], styles: Styles) -> list[Drawing]:
    """Spectral norms of W_down, W_up and the update; angles, coherence and distance from orthogonality."""
    drawings = [_norms(rows, styles)]
    if any(row["pairs"] for row in rows if _is_long(row)):
        drawings.append(_orthogonality(rows, styles))
    return drawings


def _norms(rows: list[Measurement], styles: Styles) -> Drawing:
    figure = new_figure(1.7, FULL_WIDTH)
    panels = figure.subplots(1, len(TITLES), squeeze=False)[0]
    for axes, (part, title) in zip(panels, TITLES.items(), strict=True):
        chosen = [row for row in rows if row["part"] == part and (part == "update" or _is_long(row))]
        for label, style in styles.items():
            mine = [row for row in chosen if row["row"] == label]
            _by_layer(axes, [row for row in mine if row["state"] == "trained"], "spectral_norm", style)
            if part != "update":  # an update starts at zero
                start = [row for row in mine if row["state"] == "start" and row["spectral_norm"] > 0]
                _means(axes, start, "spectral_norm", color=style.color, ls=":", lw=0.8)
        if any(row["spectral_norm"] > 0 for row in chosen):
            axes.set_yscale("log")
            log_ticks(axes.yaxis, *axes.get_ylim())
        axes.set_title(title)
        _layers(axes)
    panels[0].set_ylabel("spectral norm")
    start_handle = Line2D([], [], color="0.3", ls=":", lw=0.8, label="at the start")
    legend_below(figure, [*_handles(styles), start_handle], 0.27)
    caption = (
        "spectral norms by layer of W_down, W_up and of the whole update with its scales (of an adapter: the product "
        "of its two matrices, without the activation); mean over matrices, datasets and seeds, band from the smallest "
        "to the largest; dotted: at the start, not drawn where it is zero"
    )
    return Drawing("spectral-norms", figure, caption)


def _orthogonality(rows: list[Measurement], styles: Styles) -> Drawing:
    figure = new_figure(2.7, FULL_WIDTH)
    panels = figure.subplots(len(LONG), len(MEASURES), squeeze=False, sharex=True)
    for line, (part, which) in zip(panels, LONG.items(), strict=True):
        line[0].set_ylabel(f"W_{part}, {which}")
        for axes, measured in zip(line, MEASURES, strict=True):
            for name, style in styles.items():
                mine = [row for row in rows if row["row"] == name and row["part"] == part and _is_long(row)]
                pairs = [row for row in mine if row[measured] is not None]
                _by_layer(axes, [row for row in pairs if row["state"] == "trained"], measured, style)
                _means(axes, pairs, f"gaussian_{measured}", **REFERENCE)
            axes.set_ylim(bottom=0)
            _layers(axes)
    for axes, label in zip(panels[0], MEASURES.values(), strict=True):
        axes.set_title(label)
        axes.set_xlabel("")
    with_pairs = {row["row"] for row in rows if row["pairs"] and _is_long(row)}
    handles = _handles({name: style for name, style in styles.items() if name in with_pairs})
    legend_below(figure, [*handles, Line2D([], [], label="random Gaussian", **REFERENCE)], 0.27)
    caption = (
        "how far the d columns of W_down and the d rows of W_up are from orthogonal after training, by layer; mean "
        "over matrices, datasets and seeds, band from the smallest to the largest; dashed: Gaussian vectors of the "
        "same number and length"
    )
    return Drawing("orthogonality", figure, caption)


def _is_long(row: Measurement) -> bool:
    return row["part"] in LONG and row["vectors"] == LONG[row["part"]]


def _by_layer(axes: Axes, rows: list[Measurement], measured: str, style: SeriesStyle) -> None:
    at, values = _values(rows, measured)
    if at:
        axes.plot(at, list(map(np.mean, values)), markersize=3, lw=0.8, **style.curve())
        axes.fill_between(at, list(map(min, values)), list(map(max, values)), color=style.color, alpha=0.12, lw=0)


def _means(axes: Axes, rows: list[Measurement], measured: str, **line: Any) -> None:
    at, values = _values(rows, measured)
    axes.plot(at, list(map(np.mean, values)), **line)


def _values(rows: list[Measurement], measured: str) -> tuple[list[int], list[list[float]]]:
    """(layers from 1, the values of each)."""
    by_layer: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        by_layer[row["layer"] + 1].append(row[measured])
    return sorted(by_layer), [by_layer[layer] for layer in sorted(by_layer)]


def _layers(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axes.set_xlabel("layer")


def _handles(styles: Styles) -> list[Line2D]:
    return [Line2D([], [], label=label, markersize=3, lw=0.8, **style.curve()) for label, style in styles.items()]
