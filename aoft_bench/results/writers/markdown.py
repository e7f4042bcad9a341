"""Tables as Markdown, as HTML and for a terminal. LaTeX: `latex`; CSV: `csvs`."""

import html
from collections.abc import Sequence

from aoft_bench.results.table import Cell, Column, Grid

_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { margin: 1rem; }
div { overflow-x: auto; margin-bottom: 2rem; }
table { border-collapse: collapse; border-block: 2px solid; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-block: .5rem; }
thead, tbody + tbody { border-block: 1px solid; }
th, td { padding: .15rem .5rem; text-align: right; white-space: nowrap; font-weight: normal; }
thead th { vertical-align: bottom; }
th[scope=row], th[scope=rowgroup], .text { text-align: left; }
th[scope=colgroup] { text-align: center; }
th.rotated span { writing-mode: vertical-rl; transform: rotate(180deg); }
"""
_TEXT = ' class="text"'


def to_markdown(grids: Sequence[Grid], notes: Sequence[str] = ()) -> str:
    """All tables one after the other; notes: what stands below the last one."""
    parts = [_markdown(grid) for grid in grids]
    if notes:
        parts.append("\n".join(f"- {_escaped(note)}" for note in notes) + "\n")
    return "\n".join(parts)


def _markdown(grid: Grid) -> str:
    lines = [f"### {_escaped(grid.title)}", "", _escaped(grid.caption) + ".", ""]
    lines.append(_line(_escaped(column.header) for column in grid.columns))
    lines.append("|" + "|".join(" --- " if column.text else " ---: " for column in grid.columns) + "|")
    for block in grid.blocks:
        if block.heading:
            lines.append(_line([f"*{_escaped(block.heading)}*", *[""] * (len(grid.columns) - 1)]))
        lines += [_line(map(_markdown_cell, row)) for row in block.rows]
    notes = [line for note in grid.notes for line in ("", _escaped(note))]
    return "\n".join([*lines, *notes]) + "\n"


def _line(cells: object) -> str:
    return "| " + " | ".join(cells) + " |"  # type: ignore[arg-type]


def _markdown_cell(cell: Cell) -> str:
    text = _escaped(cell.text)
    text = {"best": f"**{text}**", "second": f"<u>{text}</u>", "": text}[cell.mark]
    return _tail(cell, text)


def _tail(cell: Cell, text: str) -> str:
    return text + (f" ± {cell.spread}" if cell.spread else "") + (f" [{cell.note}]" if cell.note else "")


def _escaped(text: str) -> str:
    """Plain text that Markdown shows as it is; a star that opens it or stands alone would start a list or italics."""
    return text.replace("|", r"\|").replace("*", r"\*").replace("<", "&lt;")


def to_html(title: str, grids: Sequence[Grid], notes: Sequence[str] = ()) -> str:
    """One document with a plain table each."""
    listed = "".join(f"<li>{html.escape(note)}</li>\n" for note in notes)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n"
        + "\n".join(_html(grid) for grid in grids)
        + (f"<ul>\n{listed}</ul>\n" if listed else "")
        + "</body>\n</html>\n"
    )


def _html(grid: Grid) -> str:
    lines = ['<div role="region" tabindex="0" aria-label="' + html.escape(grid.title) + '">', "<table>"]
    lines.append(f"<caption><strong>{html.escape(grid.title)}</strong><br>{html.escape(grid.caption)}.</caption>")
    lines.append("<thead>")
    if any(column.group for column in grid.columns):
        lines.append("<tr>" + "".join(_html_group(*span) for span in grid.groups) + "</tr>")
    lines += ["<tr>" + "".join(map(_html_header, grid.columns)) + "</tr>", "</thead>"]
    for block in grid.blocks:
        lines.append("<tbody>")
        if block.heading:
            lines.append(
                f'<tr><th scope="rowgroup" colspan="{len(grid.columns)}">{html.escape(block.heading)}</th></tr>'
            )
        lines += [_html_row(row, grid.columns) for row in block.rows]
        lines.append("</tbody>")
    lines += ["</table>", *(f"<p>{html.escape(note)}</p>" for note in grid.notes), "</div>"]
    return "\n".join(lines) + "\n"


def _html_group(name: str, columns: int) -> str:
    span = f' colspan="{columns}"' if columns > 1 else ""
    return f'<th scope="colgroup"{span}>{html.escape(name)}</th>' if name else f"<td{span}></td>"


def _html_header(column: Column) -> str:
    name = html.escape(column.header)
    if column.rotated:
        return f'<th scope="col" class="rotated"><span>{name}</span></th>'
    return f'<th scope="col"{_TEXT * column.text}>{name}</th>'


def _html_row(row: Sequence[Cell], columns: Sequence[Column]) -> str:
    first, *others = row
    cells = [f'<th scope="row">{_html_cell(first)}</th>']
    for cell, column in zip(others, columns[1:], strict=True):
        cells.append(f"<td{_TEXT * column.text}>{_html_cell(cell)}</td>")
    return "<tr>" + "".join(cells) + "</tr>"


def _html_cell(cell: Cell) -> str:
    text = html.escape(cell.text)
    text = {"best": f"<strong>{text}</strong>", "second": f"<u>{text}</u>", "": text}[cell.mark]
    spread = f" <small>± {cell.spread}</small>" if cell.spread else ""
    return text + spread + (f" <sup>{html.escape(cell.note)}</sup>" if cell.note else "")


def to_terminal(grids: Sequence[Grid]) -> str:
    """The tables drawn by rich, as wide as the terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    styles = {"best": "bold", "second": "underline", "": ""}
    with console.capture() as capture:
        for grid in grids:
            shown = Table(title=escape(f"{grid.title}\n{grid.caption}"), title_justify="left")
            for i, column in enumerate(grid.columns):
                shown.add_column(column.header, justify="left" if column.text else "right", no_wrap=not i)
            for block in grid.blocks:
                if block.heading:
                    shown.add_section()
                    shown.add_row(escape(block.heading), style="italic")
                for row in block.rows:
                    styled = ((escape(_tail(cell, cell.text)), styles[cell.mark]) for cell in row)
                    shown.add_row(*(f"[{style}]{text}[/]" if style else text for text, style in styled))
            console.print(shown)
            for note in grid.notes:
                console.print(escape(note), style="dim", highlight=False)
    return capture.get()
