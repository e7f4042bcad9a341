"""Tables on a terminal, drawn by rich."""

from collections.abc import Sequence

from aoft_bench.results.table import Table
from aoft_bench.results.writers.markdown import with_spread_and_note

_STYLES = {"best": "bold", "second": "underline", "": ""}


def to_terminal(tables: Sequence[Table]) -> str:
    """The tables one after the other, as wide as the terminal."""
    from rich import table as rich_table
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    with console.capture() as capture:
        for table in tables:
            shown = rich_table.Table(title=escape(f"{table.title}\n{table.caption}"), title_justify="left")
            for i, column in enumerate(table.columns):
                shown.add_column(column.header, justify="left" if column.text else "right", no_wrap=not i)
            for block in table.blocks:
                if block.heading:
                    shown.add_section()
                    shown.add_row(escape(block.heading), style="italic")
                for row in block.rows:
                    styled = ((escape(with_spread_and_note(entry, entry.text)), _STYLES[entry.mark]) for entry in row)
                    shown.add_row(*(f"[{style}]{text}[/]" if style else text for text, style in styled))
            console.print(shown)
            for note in table.notes:
                console.print(escape(note), style="dim", highlight=False)
    return capture.get()
