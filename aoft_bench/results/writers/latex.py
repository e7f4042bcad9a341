"""Tables as LaTeX: booktabs, rotated headers, as wide as the line at most.

pdflatex compiles a file as it is. A paper can also \\input it, if it loads booktabs, graphicx and, with T1, fontenc.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aoft_bench.results.table import Block, Column, Entry, Table, spans
from aoft_bench.utils.text import one_line

ROWS = 34  # lines of one float, headings of blocks among them: as many as a landscape page holds
TURNED = 6  # lines that a turned header is high

# begin{document} sets \@nodocument to \relax, so a paper that inputs the file skips this
_ALONE = r"""% Made by `aoft-bench tables`. By itself: pdflatex. In a paper: \input, booktabs and graphicx.
\expandafter\ifx\csname @nodocument\endcsname\relax\else
  \documentclass[10pt,a4paper,landscape]{article}
  \usepackage[T1]{fontenc}
  \usepackage[utf8]{inputenc}
  \usepackage{booktabs,graphicx}
  \usepackage[margin=1cm]{geometry}
  \pagestyle{empty}
  \gdef\aoftend{\end{document}}
  \begin{document}
\fi
"""
_END = "\\csname aoftend\\endcsname\n"  # nothing in a paper

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "[": "{[}",  # after a line's end it would open an optional argument
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "--",
    "–": "--",
    "’": "'",
    "λ": r"$\lambda$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "√": r"$\surd$",
}


def escape(text: str) -> str:
    """Plain text as LaTeX prints it, in one line. A letter that T1 lacks loses its accents, or becomes a ?."""
    return "".join(_SPECIAL.get(sign) or _latin(sign) for sign in one_line(text))


def to_latex(tables: Sequence[Table], notes: Sequence[str] = ()) -> str:
    """One float for each table, or for each `ROWS` rows of a longer one."""
    floats = [_float(part) for table in tables for part in _parts(table)]
    below = "".join(f"\\par\\noindent {escape(note)}\n" for note in notes)
    return "\n".join([_ALONE, *floats]) + below + _END


def _latin(sign: str) -> str:
    if ord(sign) < 256 and sign.isprintable():
        return sign
    return unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode() or "?"


def _parts(table: Table) -> list[Table]:
    """The table in pieces that fit on a page; notes stand below the last, or on a page of their own."""
    lines = ROWS - TURNED * any(column.rotated for column in table.columns)
    pieces: list[list[Block]] = [[]]
    room = lines
    for block in table.blocks:
        rows = list(block.rows)
        while rows:
            if room < 2:  # a heading alone at the foot of a page says nothing
                pieces.append([])
                room = lines
            room -= bool(block.heading)
            pieces[-1].append(Block(block.heading, rows[:room]))
            rows, room = rows[room:], room - len(rows[:room])
    last = len(pieces) - 1
    if room < len(table.notes):
        pieces.append([])
        last += 1
    return [
        replace(
            table,
            title=f"{table.title}{', continued' if number else ''}",
            blocks=blocks,
            notes=table.notes if number == last else (),
        )
        for number, blocks in enumerate(pieces)
    ]


def _float(table: Table) -> str:
    notes = [rf"\par\smallskip\raggedright\footnotesize {escape(note)}" for note in table.notes]
    if not table.blocks:
        return "\n".join(
            [r"\begin{table}[p]", rf"\textit{{Notes to {escape(table.title)}}}", *notes, r"\end{table}", ""]
        )
    label = re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-")
    lines = [
        r"\begin{table}[p]",
        r"\centering",
        rf"\caption{{{escape(table.title)}. {escape(table.caption)}.}}",
        rf"\label{{tab:{label}}}",
        r"\smallskip",
        r"\setlength{\tabcolsep}{2.5pt}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        r"\begin{tabular}{" + "".join("l" if column.text else "r" for column in table.columns) + "}",
        r"\toprule",
        *_group_lines(table),
        " & ".join(map(_header, table.columns)) + r" \\",
        r"\midrule",
    ]
    for number, block in enumerate(table.blocks):
        lines += [r"\midrule"] if number else []
        if block.heading:
            lines.append(rf"\multicolumn{{{len(table.columns)}}}{{l}}{{\itshape {escape(block.heading)}}} \\")
        lines += [" & ".join(map(_entry, row)) + r" \\" for row in block.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", *notes, r"\end{table}", ""])


def _group_lines(table: Table) -> list[str]:
    if not table.grouped:
        return []
    heads, rules, start = [], [], 1
    for name, span in spans(table.columns):
        heads.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(name)}}}")
        rules += [rf"\cmidrule(lr){{{start}-{start + span - 1}}}"] if name else []
        start += span
    return [" & ".join(heads) + r" \\", " ".join(rules)]


def _header(column: Column[Any]) -> str:
    name = escape(column.header)
    return rf"\rotatebox{{90}}{{{name}}}" if column.rotated else name


def _entry(entry: Entry) -> str:
    text = escape(entry.text)
    text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}", "": text}[entry.mark]
    text += rf"{{\tiny$\pm${entry.spread}}}" if entry.spread else ""
    return text + (rf"\textsuperscript{{{escape(entry.note)}}}" if entry.note else "")
