"""All figures of a results folder: drawn, saved, and listed for programs (index.json) and for readers (README.md)."""

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aoft_bench.figures import agreement, confusion, cost, curves, gain, parameters, ranks, reliability, sizes
from aoft_bench.figures.drawing import Plan
from aoft_bench.figures.fonts import families
from aoft_bench.figures.series import Styles, method_styles, row_styles
from aoft_bench.figures.style import drawing_style, save
from aoft_bench.figures.unchanged import DrawnBefore, key_of
from aoft_bench.figures.values import NothingToDrawError, published_points
from aoft_bench.results.collect import Collected
from aoft_bench.results.figure_index import DrawnFigure, read_index, write_index
from aoft_bench.results.kept import Kept
from aoft_bench.results.names import stem
from aoft_bench.results.published import Published, PublishedRow
from aoft_bench.results.rules import read_proofs
from aoft_bench.results.settings import Comparison, build_comparisons
from aoft_bench.results.titles import Titles
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import check_writable, write_text_atomically
from aoft_bench.utils.parallel import run_jobs
from aoft_bench.utils.text import one_line

# The figures of one comparison, in the order of the page. A new figure is a module with `plans` and a line here.
# Each raises `NothingToDrawError` where it would show nothing.
FIGURES: dict[str, Callable[[Comparison, Styles, Sequence[PublishedRow]], list[Plan]]] = {
    "parameters": lambda comparison, styles, published: parameters.plans(
        comparison, styles, published_points(comparison, published)
    ),
    "gain": lambda comparison, styles, _: gain.plans(comparison, styles),
    "curves": lambda comparison, styles, _: curves.plans(comparison, styles),
    "cost": lambda comparison, styles, _: cost.plans(comparison, styles),
    "sizes": lambda comparison, styles, _: sizes.plans(comparison, styles),
    "ranks": lambda comparison, styles, _: ranks.plans(comparison, styles),
    "reliability": lambda comparison, styles, _: reliability.plans(comparison, styles),
    "confusion": lambda comparison, styles, _: confusion.plans(comparison, styles),
    "agreement": lambda comparison, styles, _: agreement.plans(comparison, styles),
}
# starting a process for fewer figures costs more than it saves: it imports matplotlib first
FEWEST = 4

_HEAD = """# Figures

Made by `aoft-bench figures` from `records/`; docs/figures.md says how each is computed. A colour is a family
of methods, a marker a method, a filling or line a variant of it, in all of them. A `*` marks data that is not official.
"""


@dataclass
class _Section:
    """The figures of one comparison. plans: by kind; missing: kinds that would show nothing, and why; drawn: in the
    order of the plans."""

    comparison: Comparison
    plans: dict[str, list[Plan]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    drawn: list[DrawnFigure] = field(default_factory=list)


def write_figures(root: Path, found: Collected, published: Published, processes: int = 1) -> int:
    """Draw the records that were `found` below `root` into `root`/figures; returns the number of figures.

    published: rows that stand beside them. Up to `processes` processes draw. A figure whose numbers and code have not
    changed since an earlier call is left as it is. Files of an earlier call that are not drawn any more are removed.
    """
    folder, titles = root / "figures", Titles.of(root)
    check_writable(folder / "README.md")
    before: list[DrawnFigure] = []
    with contextlib.suppress(UserError):  # a damaged index is replaced
        before = read_index(folder)
    kept = Kept(root)
    proofs = read_proofs(root, found.records)
    comparisons = [one.ranked() for one in build_comparisons(found.records, proofs, kept, titles)]
    methods = method_styles(row.method for comparison in comparisons for row in comparison.rows)
    sections = [_planned(one, row_styles(one, methods), published.rows) for one in comparisons]
    _draw(sections, folder, processes)
    every = [*found.left_out, *published.left_out, *proofs.left_out, *kept.left_out.values()]
    about = ["Left out:", "", *(f"- {_escaped(str(left.below(root)))}" for left in every), ""] if every else []
    write_text_atomically(folder / "README.md", "\n".join([_HEAD, *about, *map(_text, sections)]))
    drawn = [figure for section in sections for figure in section.drawn]
    write_index(folder, drawn)
    named = {name for figure in drawn for name in figure.files}
    for name in {name for figure in before for name in figure.files} - named:
        (folder / name).unlink(missing_ok=True)
    return len(drawn)


def _planned(comparison: Comparison, styles: Styles, published: Sequence[PublishedRow]) -> _Section:
    section = _Section(comparison)
    for kind, plans in FIGURES.items():
        try:
            section.plans[kind] = plans(comparison, styles, published)
        except NothingToDrawError as why:
            section.missing.append(f"{kind} ({why})")
    return section


def _draw(sections: Sequence[_Section], folder: Path, processes: int) -> None:
    """Draw and save the figures of all sections, but for those that are there already."""
    before = DrawnBefore(folder)
    jobs = [
        (kind, section, partial(_saved, plan, folder / stem(section.comparison), section.comparison.title))
        for section in sections
        for kind, plans in section.plans.items()
        for plan in plans
    ]
    keys = [key_of(job.args[0], job.args[1].name, job.args[2]) for _, _, job in jobs]
    figures = [before.find(key) for key in keys]
    left = [i for i, figure in enumerate(figures) if figure is None]
    # curves take longest; started last, one of them would keep all other processes waiting
    left.sort(key=lambda i: jobs[i][0] != "curves")
    for i, figure in zip(left, run_jobs(min(processes, len(left) // FEWEST), [jobs[i][2] for i in left]), strict=True):
        before.add(keys[i], figure)
        figures[i] = figure
    before.write()
    for (_, section, _), drawn in zip(jobs, figures, strict=True):
        assert drawn is not None
        section.drawn.append(drawn)


def _saved(plan: Plan, beginning: Path, setting: str) -> DrawnFigure:
    """Draw and save one figure. beginning: path of its files up to the figure's own name."""
    with drawing_style(families()):
        drawing = plan()
        files = save(drawing.figure, beginning.with_name(f"{beginning.name}-{drawing.name}"))
    return DrawnFigure(
        setting=setting,
        title=f"{drawing.name.replace('-', ' ')}, {setting}",
        caption=f"{drawing.caption[:1].upper()}{drawing.caption[1:]}.",
        files=[path.name for path in files],
    )


def _text(section: _Section) -> str:
    """The part of the page of one comparison."""
    comparison = section.comparison
    lines = [
        f"## {_escaped(comparison.title)}",
        "",
        f"{_escaped(comparison.caption)}.",
        "",
        *(f"- {_escaped(note)}" for note in comparison.notes),
        "",
    ]
    for figure in section.drawn:
        pdf, png = figure.files
        lines += [f"![{Path(png).stem}]({png})", "", f"[PDF]({pdf}). {_escaped(figure.caption)}", ""]
    if section.missing:
        lines += [f"Not drawn: {'; '.join(section.missing)}.", ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text in Markdown, in one line in which nothing has a meaning of its own."""
    return re.sub(r"([*<\[\]`\\])", r"\\\1", one_line(text))
