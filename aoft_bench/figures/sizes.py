"""Accuracy against the number of training images."""

import statistics
from collections import defaultdict
from functools import partial

from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.series import Styles, featured
from aoft_bench.figures.style import new_figure
from aoft_bench.figures.text import legend_below
from aoft_bench.figures.values import NothingToDrawError
from aoft_bench.results.names import slug
from aoft_bench.results.rows import Row
from aoft_bench.results.settings import Comparison

Scores = dict[int, list[float]]  # training images -> top-1 in % of the seeds


def plans(comparison: Comparison, styles: Styles) -> list[Plan]:
    """One figure a dataset, with the rows that were run with several numbers of images; raises `NothingToDrawError`."""
    if not comparison.smaller:
        raise NothingToDrawError("all runs have the same number of training images")
    found: list[Plan] = []
    for dataset in comparison.datasets:
        every: dict[str, Scores] = defaultdict(dict)
        rows: dict[str, Row] = {}
        for one in (*comparison.smaller, comparison):
            for row in one.rows:
                if values := row.cells.get(dataset):
                    every[row.label][_images(row, dataset)] = values
                    rows[row.label] = row
        several = featured([row for label, row in rows.items() if label in styles and len(every[label]) > 1])
        if several:
            curves = {row.label: every[row.label] for row in several}
            found.append(
                partial(_figure, dataset, comparison.header(dataset), comparison.setting.split, curves, styles)
            )
    if not found:
        raise NothingToDrawError("no row was run with several numbers of training images")
    return found


def _images(row: Row, dataset: str) -> int:
    """On how many images the runs of a row were trained: where val200 is scored, it does not train."""
    record = next(record for record in row.records if record["dataset"] == dataset)
    sizes, scored = record["data"]["sizes"], record["metrics"]["split"]
    return int(sizes["train800"] + (sizes["val200"] if scored != "val200" else 0))


def _figure(dataset: str, header: str, split: str, curves: dict[str, Scores], styles: Styles) -> Drawing:
    figure = new_figure(2.4)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    for label, scores in curves.items():
        counts = sorted(scores)
        bar = axes.errorbar(
            counts,
            [statistics.fmean(scores[count]) for count in counts],
            yerr=[statistics.stdev(scores[count]) if len(scores[count]) > 1 else 0.0 for count in counts],
            elinewidth=0.7,
            **styles[label].curve(),
        )
        bar[0].set_gid(label)
    every = sorted({count for scores in curves.values() for count in scores})
    axes.xaxis.set_major_locator(FixedLocator(every))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{count:,}" for count in every]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="training images", ylabel=f"{split} top-1 on {header} (%)")
    legend_below(figure, [axes.plot([], [], label=label, **styles[label].curve())[0] for label in curves], 0.3)
    seeds = {len(values) for scores in curves.values() for values in scores.values()}
    caption = f"{split} top-1 on {header} against the number of training images, all of the same number of epochs"
    caption += "; mean and standard deviation over seeds" if max(seeds) > 1 else "; one seed"
    return Drawing(f"sizes-{slug(dataset)}", figure, caption)
