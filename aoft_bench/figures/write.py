"""All figures of a results folder: drawn, written, and listed on a page with what they show."""

import re
from collections.abc import Callable
from pathlib import Path

from aoft_bench.figures import cost, curves, gain, parameters, ranks
from aoft_bench.figures.drawing import Drawing
from aoft_bench.figures.names import stem
from aoft_bench.figures.style import Look, looks_of_methods, looks_of_rows, save, style
from aoft_bench.figures.values import NothingToDrawError, published_points
from aoft_bench.results.collect import Collected
from aoft_bench.results.published import Published, load
from aoft_bench.results.records import check_writable, write_text_atomically
from aoft_bench.results.tables import Table, build_tables


def write_figures(root: Path, found: Collected) -> int:
    """Draw all records of `root` that were `found` into `root`/figures; how many figures.

    Files of an earlier call that are not drawn any more are removed.
    """
    folder = root / "figures"
    page = folder / "README.md"
    check_writable(page)
    before = _files_of(page)
    tables = build_tables(found.records)
    published = load(root)
    methods = looks_of_methods(row.method for table in tables for row in table.rows)
    with style():
        sections = [_section(table, looks_of_rows(table, methods), published, folder) for table in tables]
    text = "\n".join([_HEAD, *_left_out(root, found), *sections])
    write_text_atomically(page, text)
    for name in before - _files_of(page):
        (folder / name).unlink(missing_ok=True)
    return len(_files_of(page)) // 2


_HEAD = """# Figures

Made by `python -m aoft_bench.figures` from `records/`; docs/figures.md says how each is computed. A colour is a family
of methods, a marker a method, a filling or line a variant of it, in all of them. A `*` marks data that is not official.
"""


def _section(table: Table, looks: dict[str, Look], published: Published, folder: Path) -> str:
    """Draw one setting; its part of the page."""
    kinds: dict[str, Callable[[], list[Drawing]]] = {
        "parameters": lambda: parameters.draw(table, looks, published_points(table, published)),
        "gain": lambda: gain.draw(table, looks),
        "curves": lambda: curves.draw(table, looks),
        "cost": lambda: cost.draw(table, looks),
        "ranks": lambda: ranks.draw(table, looks),
    }
    lines = [
        f"## {_plain(table.title)}",
        "",
        f"{_plain(table.caption)}.",
        "",
        *(f"- {_plain(note)}" for note in table.notes),
        "",
    ]
    missing = []
    for kind, draw in kinds.items():
        try:
            drawings = draw()
        except NothingToDrawError as why:
            missing.append(f"{kind} ({why})")
            continue
        for drawing in drawings:
            name = f"{stem(table)}-{drawing.name}"
            save(drawing.figure, folder / name)
            lines += [
                f"![{name}]({name}.png)",
                "",
                f"[PDF]({name}.pdf). {_plain(drawing.caption[:1].upper() + drawing.caption[1:])}.",
                "",
            ]
    if missing:
        lines += [f"Not drawn: {'; '.join(missing)}.", ""]
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
