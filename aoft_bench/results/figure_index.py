"""figures/index.json: which figures a results folder has and what they show.

The command `figures` writes it, and reads it to know what an earlier call drew; the page reads its captions.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_text_atomically


@dataclass(frozen=True)
class DrawnFigure:
    """setting: title of the comparison that it shows; title: of the figure itself; caption: in whole sentences;
    files: names of the same figure in several formats."""

    setting: str
    title: str
    caption: str
    files: list[str]


def write_index(folder: Path, figures: Sequence[DrawnFigure]) -> None:
    """Write `folder`/index.json."""
    text = json.dumps([asdict(figure) for figure in figures], indent=1, ensure_ascii=False)
    write_text_atomically(folder / "index.json", f"{text}\n")


def read_index(folder: Path) -> list[DrawnFigure]:
    """The figures of `folder`/index.json; none without it. Raises `UserError` for a damaged file."""
    path = folder / "index.json"
    if not path.is_file():
        return []
    try:
        return [DrawnFigure(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it or make the figures again: aoft-bench figures"
        ) from None
