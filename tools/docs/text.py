"""Docstrings as Markdown: paragraphs, formulas, and links to what they name."""

import html
import re
from collections.abc import Mapping

from tools.docs import formulas

_CODE = re.compile(r"(``.+?``|`[^`]+`|:math:`[^`]+`)", re.DOTALL)
_MATH = re.compile(r"\A\.\. math::")
_ARXIV = re.compile(r"\barXiv[ :](\d{4}\.\d{4,5})")
_COMMIT = re.compile(r"\b([\w-]+/[\w.-]+) at ([0-9a-f]{7,})\b")
_PAGE = re.compile(r"\bdocs/([\w-]+)\.md\b")
_METHOD = re.compile(r"\b([a-z]\w*)\.py\b")
_FIGURE = re.compile(r"!\[([^\]]*)\]\(\.\./results/shipped/figures/([\w-]+\.png)\)")
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")
_BARE_PAGE = re.compile(r"(?<![\w/`\[])(?<!\]\()`?docs/([\w-]+\.md)`?(?![\w/])")


def paragraphs(docstring: str) -> list[str]:
    """Paragraphs, formulas and lists of a docstring, which empty lines separate; a formula of LaTeX is one of them."""
    return re.split(r"\n\n+(?!    \\begin|    Q\(q\))", docstring.strip("\n"))


def markdown(paragraph: str, methods: Mapping[str, str], up: str) -> str:
    """A paragraph of a docstring as Markdown. methods: titles by name, of those that have a page; up: where the pages
    of docs/ are, seen from the page it is written for."""
    if _MATH.match(paragraph):
        latex = paragraph.removeprefix(".. math::").strip().rstrip(",")
        return f'<div class="formulas">{formulas.of_latex(latex, display=True)}</div>'
    if paragraph.startswith("    "):
        return formulas.block(paragraph)
    pieces = []
    for piece in _CODE.split(" ".join(paragraph.split())):
        if piece.startswith(":math:"):
            pieces.append(formulas.of_latex(piece[len(":math:`") : -1]))
        elif piece.startswith("`"):
            pieces.append(f"`{piece.strip('`')}`")
        else:
            pieces.append(_links(_escaped(piece), methods, up))
    return "".join(pieces)


def _escaped(text: str) -> str:
    return re.sub(r"([*_\[\]|])", r"\\\1", html.escape(text, quote=False))


def _links(text: str, methods: Mapping[str, str], up: str) -> str:
    text = _ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)
    text = re.sub(
        _COMMIT, lambda m: f"[{m[1]}](https://github.com/{m[1]}/tree/{m[2]}) at {m[2]}".replace("\\", ""), text
    )
    text = _PAGE.sub(rf"[\1]({up}\1.md)", text)

    def page(found: re.Match[str]) -> str:
        name = found[1].replace("\\", "")
        return f"[{methods[name]}]({name}.md)" if name in methods else found[0]

    return _METHOD.sub(page, text)


def figures(page: str) -> list[str]:
    """Names of the files of results/shipped/figures that a page of docs/ shows."""
    return [name for _, name in _FIGURE.findall(page)]


def linked(page: str) -> str:
    """A page of docs/ with a link wherever it names another one; code is left as it is. Files that are not on the site
    are named without a link; figures of results/shipped are in assets/."""
    page = _FIGURE.sub(r"![\1](assets/\2)", page)
    lines, fenced = [], False
    for line in page.splitlines():
        fenced ^= line.lstrip().startswith("```")
        code = fenced or line.startswith("    ")
        lines.append(line if code else _BARE_PAGE.sub(r"[docs/\1](\1)", _OUTSIDE.sub(r"\1", line)))
    return "\n".join(lines) + "\n"
