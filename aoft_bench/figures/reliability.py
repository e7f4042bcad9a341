"""Reliability diagrams: accuracy by confidence, and how many images have it."""

from functools import partial

import numpy as np

from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.series import Styles, featured
from aoft_bench.figures.style import new_figure
from aoft_bench.figures.text import legend_below
from aoft_bench.figures.values import NO_PREDICTIONS, NothingToDrawError
from aoft_bench.results.calibration import BINS, Reliability, reliability
from aoft_bench.results.kept import RowPredictions
from aoft_bench.results.names import slug
from aoft_bench.results.ranking import rounded
from aoft_bench.results.settings import Comparison

FEWEST = 10  # images of a bin that is drawn: the accuracy of fewer says nothing
Bins = dict[str, Reliability]  # by label of a row


def plans(comparison: Comparison, styles: Styles) -> list[Plan]:
    """One figure a dataset, with at most eight rows, by `FEATURED`; raises `NothingToDrawError`."""
    found: list[Plan] = []
    for dataset in comparison.datasets:
        here = [row for row in comparison.rows if comparison.kept.has_some(row, dataset)]
        if kept := comparison.kept.of_dataset(featured(here), dataset):
            bins = {one.row.label: _summed(one) for one in kept}
            found.append(partial(_figure, dataset, comparison.header(dataset), bins, styles))
    if not found:
        raise NothingToDrawError(NO_PREDICTIONS)
    return found


def _summed(one: RowPredictions) -> Reliability:
    """The bins of all seeds of a row together."""
    return Reliability(*(np.sum(part, axis=0) for part in zip(*map(reliability, one.runs), strict=True)))


def _figure(dataset: str, header: str, bins: Bins, styles: Styles) -> Drawing:
    figure = new_figure(3.0)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    above.plot([0, 1], [0, 1], color="0.3", lw=0.8, ls=(0, (4, 2)))
    edges = np.linspace(0, 100, BINS + 1)
    for label, found in bins.items():
        shown = found.images >= FEWEST
        confidence, accuracy = (100 * part[shown] / found.images[shown] for part in (found.confidence, found.correct))
        (line,) = above.plot(confidence / 100, accuracy / 100, **styles[label].curve())
        line.set_gid(label)
        below.stairs(100 * found.images / found.images.sum(), edges / 100, color=styles[label].color)
    above.set(xlim=(0, 1.02), ylim=(0, 1.02), ylabel=f"accuracy on {header}")
    below.set(ylabel="% of images", xlabel="confidence: probability of the predicted class")
    handles = [
        above.plot([], [], label=f"{label}, ECE {rounded(found.ece, 2)} %", **styles[label].curve())[0]
        for label, found in bins.items()
    ]
    legend_below(figure, handles, 0.3)
    caption = (
        f"Reliability on {header}: accuracy of the images by the probability of the predicted class, in {BINS} bins "
        f"of equal width, all seeds together, bins of at least {FEWEST} images; below, the share of images in each "
        "bin. Above the dashed line a method is right more often than it says. ECE: expected calibration error of all "
        "seeds together"
    )
    return Drawing(f"reliability-{slug(dataset)}", figure, caption)
