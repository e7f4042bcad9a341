"""Confusion matrices: what each class is taken for."""

from functools import partial

import numpy as np

from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.series import Styles, featured
from aoft_bench.figures.style import new_figure
from aoft_bench.figures.text import wrapped
from aoft_bench.figures.values import NO_PREDICTIONS, NothingToDrawError
from aoft_bench.results.image_statistics import confusion
from aoft_bench.results.names import slug
from aoft_bench.results.ranking import rounded
from aoft_bench.results.settings import Comparison

NUMBERED = 12  # classes up to which the shares are written into the matrix
NAMED = 25  # and up to which each class has its number at the axes


def plans(comparison: Comparison, _styles: Styles) -> list[Plan]:
    """One figure a dataset, of the first row of `FEATURED`; raises `NothingToDrawError`."""
    found: list[Plan] = []
    for dataset in comparison.datasets:
        here = [row for row in comparison.rows if comparison.kept.has_some(row, dataset)]
        for one in comparison.kept.of_dataset(featured(here, 1), dataset):
            counts = confusion(one.runs, one.classes)
            found.append(partial(_figure, dataset, comparison.header(dataset), one.row.label, counts, len(one.seeds)))
    if not found:
        raise NothingToDrawError(NO_PREDICTIONS)
    return found


def _figure(dataset: str, header: str, label: str, counts: np.ndarray, seeds: int) -> Drawing:
    classes = len(counts)
    images = counts.sum(1, keepdims=True)
    shares = 100 * counts / np.maximum(images, 1)
    figure = new_figure(3.0)
    axes = figure.add_subplot()
    axes.grid(False)
    picture = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=10, interpolation="nearest")
    picture.set_gid(label)
    if classes <= NUMBERED:
        for true, predicted in np.argwhere(counts > 0):
            share = shares[true, predicted]
            color = "white" if share > 40 else "black"
            text = rounded(float(share), 0)
            axes.text(predicted, true, "·" if text == "0" else text, ha="center", va="center", color=color)
    if classes <= NAMED:
        axes.set_xticks(range(classes))
        axes.set_yticks(range(classes))
    axes.set(xlabel=wrapped(f"class predicted by {label}", 2.4), ylabel=f"true class of {header}")
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, ticks=np.sqrt([0, 1, 5, 20, 50, 100]))
    bar.ax.set_yticklabels(["0", "1", "5", "20", "50", "100"])
    bar.set_label("% of the true class")
    caption = (
        f"Confusion of {label} on {header}: for each true class (row) the share of its images in % that were taken "
        f"for each class (column), {f'{seeds} seeds together' if seeds > 1 else 'one seed'}; colours go with the root "
        "of the share, so that rare confusions are seen; a dot is less than half a percent"
    )
    return Drawing(f"confusion-{slug(dataset)}", figure, caption)
