"""Which methods predict the same classes: the share of images of every pair of rows, and of the seeds of each."""

from functools import partial

import numpy as np

from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.series import Styles, featured
from aoft_bench.figures.style import new_figure
from aoft_bench.figures.text import wrapped
from aoft_bench.figures.values import NO_PREDICTIONS, NothingToDrawError
from aoft_bench.results.image_statistics import agreement
from aoft_bench.results.kept import RowPredictions
from aoft_bench.results.names import slug
from aoft_bench.results.settings import Comparison


def plans(comparison: Comparison, _styles: Styles) -> list[Plan]:
    """One figure a dataset of which two rows have predictions; raises `NothingToDrawError`."""
    found: list[Plan] = []
    for dataset in comparison.datasets:
        here = [row for row in comparison.rows if comparison.kept.has_some(row, dataset)]
        kept = comparison.kept.of_dataset(featured(here), dataset)  # the numbers of more would be too small to read
        if len(kept) > 1:
            labels = [one.row.label for one in kept]
            found.append(partial(_figure, dataset, comparison.header(dataset), labels, _shares(kept)))
    if not found:
        raise NothingToDrawError(f"{NO_PREDICTIONS} of two methods")
    return found


def _shares(kept: list[RowPredictions]) -> np.ndarray:
    """(rows, rows) in %, NaN where two rows have no seed in common, or a row has one seed."""
    shares = np.full((len(kept), len(kept)), np.nan)
    for i, one in enumerate(kept):
        for j, other in enumerate(kept[: i + 1]):
            if one is other:
                value = agreement(one.runs)
            else:
                common = [seed for seed in one.seeds if seed in other.seeds]
                value = agreement(one.of(common).runs, other.of(common).runs)
            shares[i, j] = shares[j, i] = np.nan if value is None else value
    return shares


def _figure(dataset: str, header: str, labels: list[str], shares: np.ndarray) -> Drawing:
    count = len(labels)
    figure = new_figure(1.0 + 0.3 * count)
    axes = figure.add_subplot()
    axes.grid(False)
    known = shares[~np.isnan(shares)]
    low = float(known.min()) if known.size else 0.0
    picture = axes.imshow(shares, cmap="Blues", vmin=low - 1, vmax=100, aspect="auto")
    picture.set_gid(dataset)
    for i, j in np.argwhere(~np.isnan(shares)):
        dark = shares[i, j] - low > 0.6 * (100 - low)
        axes.text(j, i, f"{shares[i, j]:.1f}", ha="center", va="center", color="white" if dark else "black")
    names = [wrapped(label if len(label) <= 60 else f"{label[:59]}…", 1.0) for label in labels]
    axes.set_yticks(range(count), names)
    axes.set_xticks(range(count), names, rotation=90)
    axes.tick_params(length=0)
    caption = (
        f"Of how many images of {header}, in %, two methods predict the same class: mean over the seeds that both "
        "have; on the diagonal two seeds of one method, mean over pairs. Where methods agree less with one another "
        "than seeds do with themselves, they err on other images"
    )
    return Drawing(f"agreement-{slug(dataset)}", figure, caption)
