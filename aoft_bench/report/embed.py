"""What the page holds: records without repetition, figures, the table library, and a policy of what may run."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from aoft_bench.records.files import command_of
from aoft_bench.results.figure_index import read_index
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import read_regular
from aoft_bench.utils.text import one_line

# sections of a record that many records share word for word; `config` is shared section by section
SHARED = ("protocol", "data", "weights", "hardware", "versions", "git")
LARGEST = 2**26  # bytes of a figure
LIBRARY = "itables/html/dt_bundle.js"


@dataclass(frozen=True)
class EmbeddedFigure:
    """A drawn figure. setting: what it shows, empty where that is not known; address: data: URL; width, height: in
    pixels."""

    setting: str
    title: str
    caption: str
    address: str
    width: int
    height: int


def figures(root: Path) -> list[EmbeddedFigure]:
    """The PNG files of `root`/figures: those of its index in that order, then the others by name.
    Raises `UserError` for a file that is no PNG, and for a damaged index."""
    folder = root / "figures"
    paths = {path.name: path for path in sorted(folder.glob("*.png"))}
    found = []
    for figure in read_index(folder):
        for path in [paths.pop(name) for name in figure.files if name in paths]:
            found.append(EmbeddedFigure(figure.setting, figure.title, figure.caption, *png(path)))
    for name, path in paths.items():
        title = one_line(re.sub(r"[-_]+", " ", name.removesuffix(".png")))
        found.append(EmbeddedFigure("", title, "", *png(path)))
    return found


def pack(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Records for the page: {shared, pool, records}; shared sections and each value of `config` are indices into pool.

    The whole record can be put together again from it; for a grid of 2,000 runs it is a fifth of the size.
    """
    pool: list[Any] = []
    indices: dict[str, int] = {}

    def index(value: Any) -> int:
        text = json.dumps(value, sort_keys=True)
        if text not in indices:
            indices[text] = len(pool)
            pool.append(value)
        return indices[text]

    packed = []
    for record in records:
        shown = {key: index(value) if key in SHARED else value for key, value in record.items()}
        if "command" in record:
            shown["command"] = command_of(record)  # the page has a button that copies it
        shown["config"] = {key: index(value) for key, value in record["config"].items()}
        packed.append(shown)
    return {"shared": list(SHARED), "pool": pool, "records": packed}


def library() -> tuple[str, str, str]:
    """(JavaScript module, name and version, licence text) of the table library: DataTables as itables brings it."""
    try:
        package = distribution("itables")  # read as files, nothing of it is imported
        script = Path(str(package.locate_file(LIBRARY))).read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError) as error:
        raise UserError(
            f"the page needs the package itables, which brings the table library ({error}); "
            "install it: pip install 'itables>=2.4'"
        ) from None
    licence = next((file for file in package.files or [] if file.name == "LICENSE"), None)
    return script, f"itables {package.version}", licence.read_text(encoding="utf-8").strip() if licence else ""


def png(path: Path) -> tuple[str, int, int]:
    """(data: address, width, height in pixels) of a PNG file. Raises `UserError` for anything else.

    The size is that of the header (PNG specification, 11.2.1: IHDR is the first chunk).
    """
    try:
        content = read_regular(path, LARGEST)
    except OSError as error:
        content, why = b"", f" ({error.strerror})"
    else:
        why = ""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR":
        raise UserError(
            f"{one_line(str(path))} is not a PNG file{why}; delete it or make the figures again: aoft-bench figures"
        )
    address = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return address, int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def policy(*scripts: str) -> str:
    """A Content-Security-Policy under which only `scripts` and the library run, and nothing is fetched."""
    digests = (hashlib.sha256(script.encode("utf-8")).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed} blob:; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
