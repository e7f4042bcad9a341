"""Tables as Markdown."""

import re
from collections.abc import Iterable, Sequence

from aoft_bench.results.table import Entry, Table
from aoft_bench.utils.text import one_line


def to_markdown(tables: Sequence[Table], notes: Sequence[str] = ()) -> str:
    """All tables one after the other; notes: what stands below the last one."""
    parts = [_markdown(table) for table in tables]
    if notes:
        parts.append("\n".join(f"- {escaped(note)}" for note in notes) + "\n")
    return "\n".join(parts)


def _markdown(table: Table) -> str:
    lines = [f"### {escaped(table.title)}", "", escaped(table.caption) + ".", ""]
    lines.append(_line(escaped(column.header) for column in table.columns))
    lines.append("|" + "|".join(" --- " if column.text else " ---: " for column in table.columns) + "|")
    for block in table.blocks:
        if block.heading:
            lines.append(_line([f"*{escaped(block.heading)}*", *[""] * (len(table.columns) - 1)]))
        lines += [_line(map(_markdown_entry, row)) for row in block.rows]
    notes = [line for note in table.notes for line in ("", escaped(note))]
    return "\n".join([*lines, *notes]) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_entry(entry: Entry) -> str:
    text = escaped(entry.text)
    text = {"best": f"**{text}**", "second": f"<u>{text}</u>", "": text}[entry.mark]
    return with_spread_and_note(entry, text)


def with_spread_and_note(entry: Entry, text: str) -> str:
    """`text`, which prints the entry's number, with what follows it."""
    return text + (f" ± {entry.spread}" if entry.spread else "") + (f" [{entry.note}]" if entry.note else "")


def escaped(text: str) -> str:
    """Plain text that Markdown shows as it is, in one line. A star that opens it or stands alone would start a list or
    italics; brackets are left where they cannot be a link."""
    text = re.sub(r"([\\`*|])", r"\\\1", one_line(text)).replace("<", "&lt;")
    return re.sub(r"\](?=[(\[:])", r"\]", text)
