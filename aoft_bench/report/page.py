"""The page of a results folder: read the records, fill the template, write the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from aoft_bench import __version__
from aoft_bench.report import embed, view
from aoft_bench.results.collect import collect
from aoft_bench.results.kept import Kept
from aoft_bench.results.prediction_tables import prediction_tables
from aoft_bench.results.published import load
from aoft_bench.results.published_table import printed_tables
from aoft_bench.results.reproduction import load_targets
from aoft_bench.results.reproduction_table import reproduction_tables
from aoft_bench.results.rules import Proofs, read_proofs
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.table import Entry, Table
from aoft_bench.results.titles import BUILT_IN, Titles
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_text_atomically

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("filters.js", "cells.js", "record.js", "start.js")


@dataclass(frozen=True)
class Written:
    """What a page was made of. left_out: (path, reason) of what is not on it; size in bytes."""

    path: Path
    records: int
    figures: int
    left_out: list[tuple[str, str]]
    size: int


def write_report(root: Path) -> Written:
    """Write RESULTS/report.html; `UserError` where there is no record to show."""
    collected, published = collect(root), load(root)
    targets = load_targets(root, published)
    proofs, kept, titles = read_proofs(root, collected.records), Kept(root), Titles.of(root)
    comparisons = build_comparisons(collected.records, proofs, kept, titles)
    predicted = [table for one in comparisons for table in prediction_tables(one)]
    aside = [*collected.left_out, *published.left_out, *proofs.left_out, *kept.left_out.values()]
    every = [left.below(root) for left in aside]
    left_out = [(left.name, left.reason) for left in every]
    if not collected.records:
        raise UserError(_nothing(root, left_out[: len(collected.left_out)]))
    drawn = embed.figures(root)
    reproduction = reproduction_tables(targets, comparisons)
    text = render(
        collected.records, left_out, drawn, printed_tables(published.rows), proofs, reproduction, predicted, titles
    )
    path = root / "report.html"
    write_text_atomically(path, text)
    return Written(path, len(collected.records), len(drawn), left_out, len(text.encode("utf-8")))


def _nothing(root: Path, left_out: list[tuple[str, str]]) -> str:
    if left_out:
        (path, reason), *_ = left_out
        return f"none of the {len(left_out)} records below {root / 'records'} can be used; the first, {path}: {reason}"
    return f"no records below {root / 'records'}; run a cell first: aoft-bench --help"


def render(
    records: list[dict[str, Any]],
    left_out: list[tuple[str, str]],
    drawn: list[embed.EmbeddedFigure],
    published: list[Table],
    proofs: Proofs | None = None,
    reproduction: Sequence[Table] = (),
    predicted: Sequence[Table] = (),
    titles: Titles = BUILT_IN,
) -> str:
    """The text of the page; the same for the same arguments.

    proofs, titles: see `build_comparisons`; predicted: the tables made from predictions.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
    environment.filters["breakable"] = _breakable
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    theme = (TEMPLATES / "theme.js").read_text(encoding="utf-8")
    library, library_name, licence = embed.library()
    shown = view.sections(records, proofs, titles)
    index = {id(record): i for i, record in enumerate(records)}

    def record_numbers(entry: Entry) -> str:
        return " ".join(str(index[id(record)]) for record in entry.records)

    return environment.get_template("page.html.j2").render(
        version=__version__,
        summary=_summary(records, shown),
        records=len(records),
        sections=shown,
        record_numbers=record_numbers,
        chips=view.chips(shown),
        figures=_by_setting(drawn, shown[0].title),
        published=published,
        reproduction=reproduction,
        predicted=predicted,
        left_out=left_out,
        data=embed.pack(records),
        policy=embed.policy(theme, script),
        theme=Markup(theme),
        script=Markup(script),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        library=library,
        library_name=library_name,
        licence=licence,
    )


def _by_setting(drawn: Sequence[embed.EmbeddedFigure], main: str) -> list[tuple[str, list[embed.EmbeddedFigure]]]:
    """The figures of each setting, those of the main one first."""
    groups = [(setting, list(some)) for setting, some in groupby(drawn, key=lambda figure: figure.setting)]
    return sorted(groups, key=lambda group: group[0] != main)


def _breakable(text: str) -> Markup:
    """Text that may break after an underscore, as long names in narrow columns must."""
    return Markup(str(escape(text)).replace("_", "_<wbr>"))


def _summary(records: list[dict[str, Any]], shown: list[view.ShownSetting]) -> str:
    counts = [
        (len(records), "run"),
        (sum(len(section.lines) for section in shown), "row"),
        (len({record["method"] for record in records}), "method"),
        (len({record["dataset"] for record in records}), "dataset"),
        (len({section.setting for section in shown}), "setting"),
    ]
    return ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in counts) + "."
