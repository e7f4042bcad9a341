"""The figures of a results folder with what they show, from the page that `aoft-bench figures` writes beside them."""

import re
from dataclasses import dataclass
from pathlib import Path

from aoft_bench.report.embed import png, png_size

_SECTION = re.compile(r"^## (.+)$")
_IMAGE = re.compile(r"^!\[[^\]]*\]\(([^/()]+\.png)\)$")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")  # CommonMark 2.4: a backslash before ASCII punctuation
_KIND = re.compile(r"-[0-9a-f]{6}-(.+)\.png$")
_CAPTION = re.compile(r"^\[PDF\]\([^)]*\)\. (.+)$")


@dataclass(frozen=True)
class Figure:
    """A drawn figure. setting: the table it belongs to, empty where that is not known; address: data: URL; width,
    height: in pixels."""

    setting: str
    title: str
    caption: str
    address: str
    width: int
    height: int


def figures(root: Path) -> list[Figure]:
    """The PNG files of `root`/figures: those that its README.md explains in that order, then the others by name.

    Raises `UserError` for a file that is no PNG.
    """
    folder = root / "figures"
    told = _told(folder / "README.md")
    paths = {path.name: path for path in sorted(folder.glob("*.png"))}
    found = []
    for name in [*(name for name in told if name in paths), *(name for name in paths if name not in told)]:
        setting, caption = told.get(name, ("", ""))
        found.append(Figure(setting, _title(name, setting), caption, png(paths[name]), *png_size(paths[name])))
    return found


def by_setting(found: list[Figure]) -> list[tuple[str, list[Figure]]]:
    """The figures of each setting, in their order."""
    settings: dict[str, list[Figure]] = {}
    for figure in found:
        settings.setdefault(figure.setting, []).append(figure)
    return list(settings.items())


def _title(name: str, setting: str) -> str:
    """What a figure is called: its kind, which follows the digest in the file's name, and its setting."""
    if setting and (match := _KIND.search(name)):
        return f"{match[1].replace('-', ' ')}, {setting}"
    return re.sub(r"[-_]+", " ", name.removesuffix(".png"))


def _told(page: Path) -> dict[str, tuple[str, str]]:
    """File name -> (heading it stands under, caption below it)."""
    if not page.is_file():
        return {}
    found: dict[str, tuple[str, str]] = {}
    heading = image = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if match := _SECTION.match(line):
            heading, image = _plain(match[1]), ""
        elif match := _IMAGE.match(line):
            image = match[1]
            found[image] = (heading, "")
        elif image and (match := _CAPTION.match(line)):
            found[image] = (heading, _plain(match[1]))
    return found


def _plain(markdown: str) -> str:
    return _ESCAPED.sub(r"\1", markdown)
