"""Tables as one HTML page without scripts."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aoft_bench.results.table import Table, spans

TEMPLATE = Path(__file__).with_name("tables.html.j2")


def to_html(title: str, tables: Sequence[Table], notes: Sequence[str] = ()) -> str:
    """One document with all tables one below the other; notes: what stands below the last one."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        finalize=_escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=title, tables=tables, notes=notes, spans=spans)


def _escaped(value: Any) -> Any:
    """Text escaped as Python's html module does it, whose entities differ from Jinja's for quotation marks."""
    from markupsafe import Markup

    return Markup(html.escape(value)) if type(value) is str else value
