"""Formulas as docstrings write them, `x (W + s A B^T) + b`, as MathML, which browsers typeset themselves.

A block of formulas is a table of two columns: the formula, and what stands behind three spaces or more: the shapes of
its letters, or when it holds. What is prose or a table in a block, and not a formula, stays as it is.
"""

import html
import re

from latex2mathml.converter import convert

_GREEK = {"alpha", "beta", "theta", "lambda", "sigma", "pi"}
_SIGNS = {
    "->": r"\to",
    "<=": r"\le",
    ">=": r"\ge",
    "!=": r"\ne",
    "...": r"\ldots",
    "*": r"\cdot",
    ".": r"\cdot",
    "~": r"\sim",
    "_": r"\_",
    "λ": r"\lambda",
    "⊗": r"\otimes",
}
_TOKEN = re.compile(
    r"(?P<gap>\s+)|(?P<prose>(?:where|elsewhere|[A-Za-z]{2,}(?: [A-Za-z]{2,}(?![\w(]))+)(?![\w(]))"
    r"|sqrt\((?P<root>\w+)\)|(?P<word>[A-Za-z]{2,}(?:-[A-Za-z]{2,})+|[A-Za-z]+)(?P<digits>\d*)(?P<primes>'*)"
    r"|(?P<number>\d[\d,.]*\d|\d)|(?P<script>[_^](?=[\w({-]))|->|<=|>=|!=|\.\.\.|."
)
_SCRIPT = re.compile(r"\{(?P<braces>[^}]*)\}|(?P<round>\([^)]*\))|(?P<plain>-?[A-Za-z0-9]+)")
_PROSE, _LINES = 9, 10  # words in a row, and lines of a block, that are no formula


def block(text: str) -> str:
    """HTML of an indented block of a docstring."""
    rows = _rows(text)
    if len(rows) > _LINES or any(_is_prose(formula) for formula, _ in rows):
        return f'<pre class="formulas"><code>{html.escape(_dedent(text))}</code></pre>'
    noted = any(note for _, note in rows)
    lines = []
    for formula, note in rows:
        cells = f"<td>{mathml(formula)}</td>" + (f"<td>{html.escape(note)}</td>" if noted else "")
        lines.append(f"<tr>{cells}</tr>")
    return f'<div class="formulas"><table class="lines">{"".join(lines)}</table></div>'


def mathml(formula: str) -> str:
    """One line of a formula in plain text as MathML."""
    return of_latex(latex(formula))


def of_latex(source: str, display: bool = False) -> str:
    """LaTeX as MathML."""
    return convert(source, display="block" if display else "inline")


def latex(formula: str) -> str:
    """One line of a formula in plain text as LaTeX. Single letters are variables, words are names of functions."""
    parts: list[str] = []
    place = 0
    while place < len(formula):
        found = _TOKEN.match(formula, place)
        assert found  # the last alternative is any character
        place = found.end()
        if gap := found["gap"]:
            parts.append(" " if len(gap) == 1 else r"\quad")
        elif found["prose"]:
            parts.append(rf"\text{{ {found['prose']} }}")
        elif found["root"]:
            parts.append(rf"\sqrt{{{latex(found['root'])}}}")
        elif word := found["word"]:
            parts.append(_word(word, found["digits"], found["primes"]))
        elif found["script"]:
            script = _SCRIPT.match(formula, place)
            assert script
            place = script.end()
            parts.append(_script(found["script"], script))
        else:
            parts.append(_SIGNS.get(found[0], found[0]))
    joined = re.sub(r"\s+", " ", " ".join(parts)).strip()
    # names of more than one letter stand apart from their neighbours
    joined = re.sub(r"(?<=[\w)\]}'])(?= \\text\{\w)", r" \\,", joined)
    return re.sub(r"(\\text\{[\w-]+\}'*)(?= (?:[A-Za-z0-9]|\\(?:text|lambda|sum|sigma)))", r"\1 \\,", joined)


def _word(word: str, digits: str, primes: str) -> str:
    if word == "sum":
        return r"\sum"
    if word in _GREEK:
        return f"\\{word}{primes}"
    if len(word) > 1:
        return rf"\text{{{word}{digits}}}{primes}"
    return word + (f"_{{{digits}}}" if digits else "") + primes


def _script(sign: str, found: re.Match[str]) -> str:
    inside = found["braces"] or found["round"] or found["plain"]
    if sign == "^" and inside == "T":
        return r"^{\top}"
    if re.fullmatch("[i-n]{2,}", inside):  # P_km has two indices
        return f"{sign}{{{' '.join(inside)}}}"
    return f"{sign}{{{latex(inside)}}}"


def _rows(text: str) -> list[tuple[str, str]]:
    """(formula, note) of each line; a line that starts far to the right continues the note above."""
    rows: list[tuple[str, str]] = []
    for line in _dedent(text).splitlines():
        parts = re.split(r"\s{3,}", line.strip())
        if line.startswith(" " * 12) and rows:
            formula, note = rows[-1]
            rows[-1] = (formula, _joined(note, " ".join(parts)))
            continue
        formula = parts.pop(0)
        if formula.isalnum() and parts:  # a label: `proj   s sum_r ...`
            formula = f"{formula}:  {parts.pop(0)}"
        while formula.endswith((",", ";")) and parts and not _words_in_a_row(parts[0]) > 1:
            formula = f"{formula}  {parts.pop(0)}"  # two spaces part formulas of one line
        rows.append((formula.rstrip(",;"), "; ".join(parts)))
    return rows


def _joined(note: str, more: str) -> str:
    starts = re.match(r"\w+ \(", more) and not note.endswith((",", ";", ":"))
    return f"{note}{';' if starts and note else ''} {more}".strip()


def _words_in_a_row(text: str) -> int:
    longest = run = 0
    for word in text.split():
        run = run + 1 if re.fullmatch(r"[A-Za-z]{2,},?", word) else 0
        longest = max(longest, run)
    return longest


def _is_prose(formula: str) -> bool:
    return formula.endswith(":") or _words_in_a_row(formula) >= _PROSE


def _dedent(text: str) -> str:
    indent = min(len(line) - len(line.lstrip()) for line in text.splitlines() if line.strip())
    return "\n".join(line[indent:].rstrip() for line in text.splitlines())
