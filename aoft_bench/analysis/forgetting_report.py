"""What was forgotten, of several runs: CSV rows, a table in Markdown, and a figure for each setting."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from aoft_bench.analysis.angle_figures import FULL_WIDTH
from aoft_bench.analysis.forgetting import HEAD, Probe, Similarity
from aoft_bench.figures.drawing import Drawing
from aoft_bench.figures.series import SeriesStyle, Styles, method_styles, row_styles
from aoft_bench.figures.style import drawing_style, new_figure, save
from aoft_bench.figures.text import legend_below
from aoft_bench.records.schema import Record
from aoft_bench.results.names import stem
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.writers.csv import csv_of
from aoft_bench.results.writers.markdown import escaped

MEASURES = {"cka": "linear CKA", "cosine": "cosine"}
NOTE = (
    "CKA and cosine compare the features of the pre-trained and of the trained network on the images that trained it, "
    "of each block averaged over patches, of the head as it reads them; 1 is unchanged. A probe is trained on "
    "train800 of its task and scored on val200, before -> after training; ± is the standard error of the difference "
    "over these images. No test split was opened."
)


@dataclass(frozen=True)
class Measured:
    """A record and what was measured of its run. setting, row: where it stands in a table; code: what CSV
    files call that row."""

    record: Record
    kept: Sequence[Similarity]
    probes: Sequence[Probe]
    setting: str = ""
    row: str = ""
    code: str = ""

    @property
    def blocks(self) -> list[Similarity]:
        return [one for one in self.kept if one.place != HEAD]

    @property
    def head(self) -> Similarity:
        return next(one for one in self.kept if one.place == HEAD)

    def origin(self) -> dict[str, Any]:
        """What a row of a CSV file says of the run."""
        names = {name: self.record[name] for name in ("backbone", "method", "dataset", "seed", "hash")}
        return {"setting": self.setting, "row": self.code, **names}


def write(measured: Sequence[Measured], folder: Path) -> dict[str, str]:
    """Draw the figures of all runs into `folder`; returns the other files of a report as texts by name."""
    named = list(_named(measured))
    captions: dict[str, str] = {}
    with drawing_style():
        for comparison in build_comparisons([one.record for one in measured]):
            mine = [one for one in named if one.setting == stem(comparison)]
            styles = row_styles(comparison, method_styles(row.method for row in comparison.rows))
            drawing = draw(mine, styles)
            name = f"{stem(comparison)}-{drawing.name}"
            save(drawing.figure, folder / name)
            captions[name] = drawing.caption
    listed = "".join(f"* {folder.name}/{name}: {caption}.\n" for name, caption in captions.items())
    files = {
        "features.csv": csv_of([one.origin() | _values(kept) for one in named for kept in one.kept]),
        "summary.md": f"{table(named)}\n{NOTE}\n\n## Figures\n\n{listed}",
    }
    if probes := [one.origin() | vars(probe) for one in named for probe in one.probes]:
        files["probes.csv"] = csv_of(probes)
    return files


def table(measured: Sequence[Measured]) -> str:
    """One line for each row and dataset, means over seeds."""
    probes = list(dict.fromkeys(probe.dataset for one in measured for probe in one.probes))
    head = ["row", "trained on", "top-1", "CKA, blocks", "CKA, last block", "CKA, head", "cosine, blocks"]
    head += ["cosine, head", *(f"probe on {escaped(name)}" for name in probes)]
    groups: dict[tuple[str, str, str], list[Measured]] = defaultdict(list)
    for one in measured:
        groups[one.setting, one.row, one.record["dataset"]].append(one)
    lines: list[str] = []
    for setting in dict.fromkeys(key[0] for key in groups):
        lines += [
            f"## {escaped(setting)}\n",
            f"| {' | '.join(head)} |",
            f"|{' --- |' * 2}{' ---: |' * (len(head) - 2)}",
        ]
        for (own, row, dataset), runs in groups.items():
            if own == setting:
                cells = [escaped(row), escaped(dataset), f"{fmean(r.record['metrics']['top1'] for r in runs):.1f}"]
                cells += _similarities(runs)
                cells += [_probe_text([p for r in runs for p in r.probes if p.dataset == name]) for name in probes]
                lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _similarities(runs: Sequence[Measured]) -> list[str]:
    chosen = [
        [kept.cka for run in runs for kept in run.blocks],
        [run.blocks[-1].cka for run in runs],
        [run.head.cka for run in runs],
        [kept.cosine for run in runs for kept in run.blocks],
        [run.head.cosine for run in runs],
    ]
    return [_three(fmean(values)) for values in chosen]


def _three(value: float) -> str:
    return "-" if isnan(value) else f"{value:.3f}"


def _probe_text(probes: Sequence[Probe]) -> str:
    """Accuracies in %, and their difference with its standard error over images, means over seeds."""
    if not probes:
        return "-"
    before, after = (fmean(100 * getattr(p, name) / p.images for p in probes) for name in ("before", "after"))
    error = fmean(standard_error(p) for p in probes)
    return f"{before:.1f} -> {after:.1f} ({after - before:+.1f} ± {error:.1f})"


def standard_error(probe: Probe) -> float:
    """Of the difference after - before in points: the standard deviation over images of +1 (gained), -1 (lost) and 0,
    divided by the root of their number."""
    gained, lost = probe.gained / probe.images, probe.lost / probe.images
    return 100 * sqrt((gained + lost - (gained - lost) ** 2) / probe.images)


def draw(measured: Sequence[Measured], styles: Styles) -> Drawing:
    """CKA and cosine by block, a line a row: mean over datasets and seeds, band from the smallest to the largest."""
    figure = new_figure(1.9, FULL_WIDTH)
    panels = figure.subplots(1, len(MEASURES), squeeze=False)[0]
    places = list(dict.fromkeys(kept.place for one in measured for kept in one.kept))
    for axes, (name, title) in zip(panels, MEASURES.items(), strict=True):
        for label, style in styles.items():
            runs = [one for one in measured if one.row == label]
            if runs:
                _curve(axes, np.array([[getattr(kept, name) for kept in run.kept] for run in runs]), style)
        axes.set_title(f"{title} with the pre-trained features")
        axes.set_xticks(range(len(places)), places)
        axes.set_xlabel("block")
        axes.set_ylim(top=1 + 0.02 * (1 - axes.get_ylim()[0]))
    shown = [label for label in styles if any(one.row == label for one in measured)]
    handles = [Line2D([], [], label=label, markersize=3, lw=0.8, **styles[label].curve()) for label in shown]
    legend_below(figure, handles, 0.27)
    datasets = ", ".join(dict.fromkeys(one.record["dataset"] for one in measured))
    caption = (
        f"linear CKA and cosine of the features before and after training on {datasets}, by block (averaged over "
        f"patches) and at the input of the head, on the {measured[0].head.images:,} images that trained it; mean over "
        "datasets and seeds, band from the smallest to the largest"
    )
    return Drawing("forgetting", figure, caption)


def _curve(axes: Axes, values: np.ndarray, style: SeriesStyle) -> None:
    at = range(values.shape[1])
    axes.plot(at, values.mean(axis=0), markersize=3, lw=0.8, **style.curve())
    axes.fill_between(at, values.min(axis=0), values.max(axis=0), color=style.color, alpha=0.12, lw=0)


def _named(measured: Sequence[Measured]) -> Iterable[Measured]:
    """Each run with the setting and the label that its record has in tables."""
    of_record = {id(one.record): one for one in measured}
    for comparison in build_comparisons([one.record for one in measured]):
        for row in comparison.rows:
            for record in row.records:
                one = of_record[id(record)]
                yield Measured(record, one.kept, one.probes, stem(comparison), row.label, row.code)


def _values(kept: Similarity) -> dict[str, Any]:
    return {**vars(kept), "cka": f"{kept.cka:.6g}", "cosine": f"{kept.cosine:.6g}"}
