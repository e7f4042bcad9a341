"""All figures of a results folder: drawn, written, and listed on a page with what they show."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from aoft_bench.figures import cost, curves, gain, parameters, ranks
from aoft_bench.figures.drawing import Plan
from aoft_bench.figures.fonts import families
from aoft_bench.figures.names import stem
from aoft_bench.figures.parallel import done_by
from aoft_bench.figures.style import Look, looks_of_methods, looks_of_rows, save, style
from aoft_bench.figures.values import NothingToDrawError, published_points
from aoft_bench.results.collect import Collected
from aoft_bench.results.published import Published, load
from aoft_bench.results.settings import Table, build_tables
from aoft_bench.utils.files import check_writable, write_text_atomically

# a process that is started for fewer figures than these costs more than it draws: it imports matplotlib first
FEWEST = 4


@dataclass(frozen=True)
class _Written:
    """name: of the files of a figure, without .pdf and .png."""

    name: str
    caption: str


@dataclass
class _Section:
    """One setting. plans: of its figures by kind; missing: kinds that would show nothing, and why."""

    table: Table
    plans: dict[str, list[Plan]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def write_figures(root: Path, found: Collected, processes: int = 1) -> int:
    """Draw all records of `root` that were `found` into `root`/figures, in so many processes at most; how many figures.

    Files of an earlier call that are not drawn any more are removed.
    """
    folder = root / "figures"
    page = folder / "README.md"
    check_writable(page)
    before = _files_of(page)
    tables = build_tables(found.records)
    published = load(root)
    methods = looks_of_methods(row.method for table in tables for row in table.rows)
    sections = [_planned(table, looks_of_rows(table, methods), published) for table in tables]
    written = _drawn(sections, folder, processes)
    texts = [_text(section, some) for section, some in zip(sections, written, strict=True)]
    text = "\n".join([_HEAD, *_left_out(root, found), *texts])
    write_text_atomically(page, text)
    for name in before - _files_of(page):
        (folder / name).unlink(missing_ok=True)
    return len(_files_of(page)) // 2


_HEAD = """# Figures

Made by `aoft-bench figures` from `records/`; docs/figures.md says how each is computed. A colour is a family
of methods, a marker a method, a filling or line a variant of it, in all of them. A `*` marks data that is not official.
"""


def _planned(table: Table, looks: dict[str, Look], published: Published) -> _Section:
    kinds: dict[str, Callable[[], list[Plan]]] = {
        "parameters": lambda: parameters.plans(table, looks, published_points(table, published)),
        "gain": lambda: gain.plans(table, looks),
        "curves": lambda: curves.plans(table, looks),
        "cost": lambda: cost.plans(table, looks),
        "ranks": lambda: ranks.plans(table, looks),
    }
    section = _Section(table)
    for kind, plans in kinds.items():
        try:
            section.plans[kind] = plans()
        except NothingToDrawError as why:
            section.missing.append(f"{kind} ({why})")
    return section


def _drawn(sections: Sequence[_Section], folder: Path, processes: int) -> list[list[_Written]]:
    """The figures of each section, drawn and saved."""
    jobs = [
        (kind, partial(_saved, plan, folder / stem(section.table)))
        for section in sections
        for kind, plans in section.plans.items()
        for plan in plans
    ]
    # curves take longest; started last, one of them would keep all other processes waiting
    order = sorted(range(len(jobs)), key=lambda i: jobs[i][0] != "curves")
    results = done_by(min(processes, len(jobs) // FEWEST), [jobs[i][1] for i in order])
    written = iter([result for _, result in sorted(zip(order, results, strict=True), key=lambda pair: pair[0])])
    return [list(islice(written, sum(map(len, section.plans.values())))) for section in sections]


def _saved(plan: Plan, beginning: Path) -> _Written:
    """Draw one figure, in whatever process. beginning: path of its files up to the figure's own name."""
    with style(families()):
        drawing = plan()
        path = beginning.with_name(f"{beginning.name}-{drawing.name}")
        save(drawing.figure, path)
    return _Written(path.name, drawing.caption)


def _text(section: _Section, written: Sequence[_Written]) -> str:
    """The part of the page of one setting."""
    table = section.table
    lines = [
        f"## {_plain(table.title)}",
        "",
        f"{_plain(table.caption)}.",
        "",
        *(f"- {_plain(note)}" for note in table.notes),
        "",
    ]
    for figure in written:
        lines += [
            f"![{figure.name}]({figure.name}.png)",
            "",
            f"[PDF]({figure.name}.pdf). {_plain(figure.caption[:1].upper() + figure.caption[1:])}.",
            "",
        ]
    if section.missing:
        lines += [f"Not drawn: {'; '.join(section.missing)}.", ""]
    return "\n".join(lines)


def _left_out(root: Path, found: Collected) -> list[str]:
    if not found.left_out:
        return []
    # the same wherever the folder lies
    told = [f"{left.path.relative_to(root)}: {left.reason.replace(f'{root}/', '')}" for left in found.left_out]
    return ["Records left out:", "", *(f"- {_plain(line)}" for line in told), ""]


def _plain(text: str) -> str:
    """Text in Markdown, in which nothing has a meaning of its own."""
    return re.sub(r"([*<\[\]`\\])", r"\\\1", text)


def _files_of(page: Path) -> set[str]:
    """The PDF and PNG files that a page of this module names."""
    if not page.is_file():
        return set()
    return set(re.findall(r"\]\(([A-Za-z0-9_.+-]+\.(?:pdf|png))\)", page.read_text(encoding="utf-8")))
