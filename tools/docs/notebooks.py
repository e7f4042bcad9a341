"""The notebooks of examples/ as pages: what they say, their code, and what it printed when they were saved."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def pages() -> Iterator[tuple[str, str]]:
    """(path, Markdown) of every page."""
    for path in paths().values():
        yield path, page(EXAMPLES / f"{Path(path).stem}.ipynb")


def paths() -> Mapping[str, str]:
    """Paths of the pages, by title, in the order of the navigation."""
    return {_title(_cells(path)): f"examples/{path.stem}.md" for path in sorted(EXAMPLES.glob("*.ipynb"))}


def page(notebook: Path) -> str:
    """A notebook as Markdown, with a line below its title that says which file it is."""
    first, *others = _cells(notebook)
    said, parts = f"`examples/{notebook.name}` of the checkout, as it was saved; a test runs it.", []
    for cell in others:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else _fenced(source, "python"))
        parts += [part for output in cell.get("outputs", []) if (part := _output(output))]
    head, _, lead = "".join(first["source"]).partition("\n")
    return "\n\n".join([head, said, lead.strip(), *parts]) + "\n"


def _cells(notebook: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return cells


def _title(cells: list[dict[str, Any]]) -> str:
    return "".join(cells[0]["source"]).partition("\n")[0].removeprefix("# ")


def _output(output: dict[str, Any]) -> str:
    """What a cell printed or showed: a picture, else text; tables are text too."""
    data = output.get("data", {})
    if picture := data.get("image/png"):
        return f"![What the cell above draws](data:image/png;base64,{''.join(picture.split())})"
    text = "".join(output.get("text") or data.get("text/plain") or [])
    return _fenced(text.rstrip("\n"), "text") if text else ""


def _fenced(text: str, language: str) -> str:
    """Text in a fence that is longer than any in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
