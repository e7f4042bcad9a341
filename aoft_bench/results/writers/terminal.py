"""Tables on a terminal, drawn by rich."""

from collections.abc import Sequence

from aoft_bench.results.table import Table
from aoft_bench.results.writers.markdown import with_spread_and_note
from aoft_bench.utils.text import one_line

_WIDEST = 1_000  # columns of a line in a file
_STYLES = {"best": "bold", "second": "underline", "": ""}


def to_terminal(tables: Sequence[Table]) -> str:
    """The tables one after the other, as wide as the terminal; in a pipe or a log as wide as they are."""
    from rich import table as rich_table
    from rich.console import Console
    from rich.markup import escape

    def plain(text: str) -> str:
        return escape(one_line(text))

    console = Console()
    if not console.is_terminal:  # rich would take 80 columns, in which the 19 tasks of VTAB-1k have none left
        console = Console(width=_WIDEST)
    with console.capture() as capture:
        for table in tables:
            shown = rich_table.Table(title=f"{plain(table.title)}\n{plain(table.caption)}", title_justify="left")
            for i, column in enumerate(table.columns):
                shown.add_column(plain(column.header), justify="left" if column.text else "right", no_wrap=not i)
            for block in table.blocks:
                if block.heading:
                    shown.add_section()
                    shown.add_row(plain(block.heading), style="italic")
                for row in block.rows:
                    styled = ((plain(with_spread_and_note(entry, entry.text)), _STYLES[entry.mark]) for entry in row)
                    shown.add_row(*(f"[{style}]{text}[/]" if style else text for text, style in styled))
            console.print(shown)
            for note in table.notes:
                console.print(plain(note), style="dim", highlight=False)
    return capture.get()
