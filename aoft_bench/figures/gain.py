"""Per-task gain of AOFT over LoRA and Adapter, in points of top-1."""

import statistics
from functools import partial

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from aoft_bench.data.tasks import find
from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.series import Styles
from aoft_bench.figures.style import new_figure
from aoft_bench.figures.text import legend_below, wrapped
from aoft_bench.figures.values import NothingToDrawError, gains, without_records
from aoft_bench.results.names import slug
from aoft_bench.results.settings import Comparison
from aoft_bench.results.statistics import pool_of

OURS = ("aoft", "aoft_without_lambda")  # AOFT in LoRA: AOFT in Adapter or VPT has other baselines
BASELINES = ("lora", "lora_matched", "adapter")


def plans(comparison: Comparison, styles: Styles) -> list[Plan]:
    """One figure an AOFT row, with all rows of the baselines; raises `NothingToDrawError`."""
    ours = [row for row in comparison.rows if row.method in OURS]
    baselines = [row for name in BASELINES for row in comparison.rows if row.method == name]
    if not ours or not baselines:
        lacking = " and ".join(kind for kind, rows in (("AOFT", ours), ("LoRA or Adapter", baselines)) if not rows)
        raise NothingToDrawError(f"no {lacking}")
    found: list[Plan] = []
    small = without_records(comparison)
    for row in ours:
        by_label = {base.label: gains(row, base, comparison.datasets) for base in baselines}
        series = {label: values for label, values in by_label.items() if values}
        if series:
            found.append(partial(_figure, small, row.label, row.code, series, styles))
    if not found:
        raise NothingToDrawError("AOFT and the others have no dataset and seed in common")
    return found


def _figure(
    comparison: Comparison, ours: str, code: str, series: dict[str, dict[str, list[float]]], styles: Styles
) -> Drawing:
    datasets = [name for name in pool_of(comparison).tasks if any(name in found for found in series.values())]
    lines = [*datasets, "mean"] if len(datasets) > 1 else datasets
    step = max(0.16, 0.09 * len(series))  # marks of one task do not cover one another
    figure = new_figure(0.45 + max(0.45, step * len(lines)))
    axes = figure.add_subplot()
    axes.axvline(0, color="0.3", lw=0.8)
    for i, (base, found) in enumerate(series.items()):
        values = {**found, **_mean(found, datasets)}
        shift = (i - (len(series) - 1) / 2) * 0.7 / len(series)
        names = [name for name in lines if name in values]
        bar = axes.errorbar(
            [statistics.fmean(values[name]) for name in names],
            [lines.index(name) + shift for name in names],
            xerr=[statistics.stdev(values[name]) if len(values[name]) > 1 else 0.0 for name in names],
            ls="",
            elinewidth=0.7,
            **styles[base].marks(),
        )
        bar[0].set_gid(base)
    names = [comparison.header(name) if name != "mean" else f"mean of {len(datasets)}" for name in lines]
    axes.set_yticks(range(len(lines)), names)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    _separate(axes, [find(name).group if name != "mean" else "" for name in lines])
    split = comparison.setting.split
    axes.set_xlabel(wrapped(f"{ours} minus the other ({split}, points)", 2.4))
    handles = [Line2D([], [], ls="", label=f"over {base}", **styles[base].marks()) for base in series]
    legend_below(figure, handles)
    counts = {len(values) for found in series.values() for values in found.values()}
    caption = f"{split} top-1 of {ours} minus that of {', '.join(series)}, in points, by task"
    caption += "; mean and standard deviation of the differences seed by seed" if max(counts) > 1 else "; one seed"
    return Drawing("gain" if code == "aoft" else f"gain-{slug(code)}", figure, caption)


def _mean(found: dict[str, list[float]], datasets: list[str]) -> dict[str, list[float]]:
    """The mean over tasks of each seed's differences, where every task has the same number of seeds."""
    lengths = {len(found.get(name, [])) for name in datasets}
    if len(datasets) < 2 or len(lengths) > 1:
        return {}
    return {"mean": [statistics.fmean(values) for values in zip(*(found[n] for n in datasets), strict=True)]}


def _separate(axes: Axes, groups: list[str]) -> None:
    """A line between groups of tasks, and their names at the right; nothing with one group."""
    starts = [i for i in range(len(groups)) if i == 0 or groups[i] != groups[i - 1]]
    for start in starts[1:]:
        axes.axhline(start - 0.5, color="0.7", lw=0.6)
    named = [start for start in starts if groups[start]]
    if len(named) < 2:
        return
    for start in named:
        stop = min([s for s in starts if s > start], default=len(groups))
        if stop - start > 2:  # else the name is longer than its room
            middle, beside = (start + stop - 1) / 2, axes.get_yaxis_transform()
            axes.text(1.02, middle, groups[start], transform=beside, rotation=270, ha="left", va="center", color="0.3")
