"""figures/index.json: which figures a results folder has and what they show.

The command `figures` writes it, and reads it to know what an earlier call drew; the page reads its captions.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import read_regular, write_text_atomically
from aoft_bench.utils.text import one_line, shown

_LARGEST = 2**24  # bytes of the file


@dataclass(frozen=True)
class DrawnFigure:
    """setting: title of the comparison that it shows; title: of the figure itself; caption: in whole sentences;
    files: names of the same figure in several formats."""

    setting: str
    title: str
    caption: str
    files: list[str]


_INDEX = TypeAdapter(list[DrawnFigure])


def write_index(folder: Path, figures: Sequence[DrawnFigure]) -> None:
    """Write `folder`/index.json."""
    text = json.dumps([asdict(figure) for figure in figures], indent=1, ensure_ascii=False)
    write_text_atomically(folder / "index.json", f"{text}\n")


def read_index(folder: Path) -> list[DrawnFigure]:
    """The figures of `folder`/index.json; none without it.

    Raises `UserError` for a damaged file, and for one that names files outside the folder, since the command removes
    those that it does not draw any more.
    """
    path = folder / "index.json"
    if not path.exists():
        return []
    try:
        figures = _INDEX.validate_json(read_regular(path, _LARGEST))
        outside = [name for figure in figures for name in figure.files if Path(name).name != name]
        if outside:
            raise ValueError(f"{shown(outside[0])} is no name of a file in this folder")
    except (OSError, ValueError) as error:
        why = " ".join(one_line(line) for line in str(error).splitlines()[:3])
        raise UserError(f"{path} is damaged ({why}); delete it or make the figures again: aoft-bench figures") from None
    return figures
