"""Which figures an earlier call drew from the same numbers by the same code, so that they are not drawn again.

figures/.drawn.json has, by a SHA-256 over all that a figure is drawn from, what it is called and the SHA-256 of its
files. A figure whose file was changed or removed is drawn again. The file holds for this folder alone and is no part of
the results: delete it to have all figures drawn.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import FunctionType
from typing import Any

from pydantic import TypeAdapter

from aoft_bench.figures.fonts import families
from aoft_bench.results.figure_index import DrawnFigure
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import read_regular, write_text_atomically

_LARGEST = 2**24  # bytes of the file


@dataclass(frozen=True)
class _Drawn:
    """sha256: of the files of the figure, by name."""

    figure: DrawnFigure
    sha256: dict[str, str]


_DRAWN = TypeAdapter(dict[str, _Drawn])


class DrawnBefore:
    """The figures that an earlier call drew into a folder. One that is asked for by `find` or added is kept by `write`;
    a file that is missing or damaged holds none."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / ".drawn.json"
        self._kept: dict[str, _Drawn] = {}
        try:
            self._before = _DRAWN.validate_json(read_regular(self._path, _LARGEST)) if self._path.exists() else {}
        except (OSError, ValueError, UserError):
            self._before = {}

    def find(self, key: str) -> DrawnFigure | None:
        """The figure of a key, if its files are as they were written."""
        drawn = self._before.get(key)
        if drawn is None or not drawn.sha256 or {*drawn.figure.files} != {*drawn.sha256}:
            return None
        if any(self._digest(name) != digest for name, digest in drawn.sha256.items()):
            return None
        self._kept[key] = drawn
        return drawn.figure

    def add(self, key: str, figure: DrawnFigure) -> None:
        """A figure that was drawn in this call."""
        self._kept[key] = _Drawn(figure, {name: self._digest(name) for name in figure.files})

    def write(self) -> None:
        kept = {key: asdict(drawn) for key, drawn in sorted(self._kept.items())}
        text = json.dumps(kept, indent=1, ensure_ascii=False)
        write_text_atomically(self._path, f"{text}\n")

    def _digest(self, name: str) -> str:
        """SHA-256 of a file of the folder; empty if there is none."""
        path = self._folder / name
        if Path(name).name != name or not path.is_file():
            return ""
        return hashlib.sha256(path.read_bytes()).hexdigest()


def key_of(*drawn_from: Any) -> str:
    """SHA-256 over what a figure is drawn from: these values, the code of this package, matplotlib and the fonts."""
    what = {"values": list(_flat(drawn_from)), "code": _code(), "fonts": list(families())}
    what |= {name: metadata.version(name) for name in ("matplotlib", "numpy")}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@cache
def _code() -> str:
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _flat(value: Any) -> Iterable[str]:
    """A value as a list of texts, the same for the same value in every process, which neither `repr` nor `pickle` is.
    Raises `TypeError` for what is not data."""
    kind = type(value).__qualname__
    if value is None or isinstance(value, bool | int | float | str | bytes | Path):
        yield f"{kind} {value!r}"
        return
    parts: Iterable[Any]
    if isinstance(value, partial):
        parts = [value.func, value.args, value.keywords]
    elif isinstance(value, type) or (isinstance(value, FunctionType) and not value.__closure__):
        yield f"{value.__module__}.{value.__qualname__}"
        return
    elif is_dataclass(value):
        parts = [(field.name, getattr(value, field.name)) for field in fields(value)]
    elif isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, set | frozenset):
        parts = sorted(list(_flat(one)) for one in value)
    elif isinstance(value, Sequence):
        parts = value
    elif hasattr(value, "tolist"):  # numpy
        parts = [value.tolist()]
    else:
        raise TypeError(f"a figure is drawn from numbers and texts, got {kind}")
    yield f"{kind}("
    for part in parts:
        yield from _flat(part)
    yield ")"
