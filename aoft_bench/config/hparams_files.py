"""What a file of conf/hparams may hold: options of the method and of the recipe, and nothing else.

Such files are copied between people and written from records. A section of Hydra's in one of them could start any
program, so each file is read here before Hydra composes anything.
"""

import functools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from aoft_bench.utils.errors import UserError

SECTIONS = ("method", "recipe")
DEEPEST = 5  # folders below hparams/
PACKAGE = "# @package _global_"

# a file of the usual form, which is not parsed: values without {, $ and tags below the two sections
_COMMENT = r"#(?!\s*@)[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\n"
_OPTION = r"  (?!name:|label:)[a-z]\w*: [\w.+\-\[\], ]+\n"
_USUAL = re.compile(rf"(?:# @package _global_\n)?(?:{_COMMENT}|(?:method|recipe):\n|{_OPTION})*", re.ASCII)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_hparams_files(folders: Iterable[Path]) -> None:
    """Raise `UserError` that names the first file of hparams/ below `folders` that holds something else."""
    for folder in folders:
        for path in _files(folder / "hparams"):
            try:
                status = path.stat()
                problem = _problem_of(path, status.st_mtime_ns, status.st_size, status.st_ino)
            except (OSError, ValueError, yaml.YAMLError):
                continue  # Hydra names it, if it is asked for
            if problem:
                raise UserError(f"{path} {problem}; remove that, or give it in a file of conf/experiment")


def _files(folder: Path) -> Iterator[Path]:
    """The YAML files below a folder, also behind links, which Hydra follows; not deeper than any choice is."""
    for where, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        if len(Path(where).parts) - len(folder.parts) >= DEEPEST:
            folders.clear()  # a link may lead back
        yield from (Path(where, name) for name in sorted(names) if name.endswith(".yaml"))


@functools.lru_cache(maxsize=10_000)
def _problem_of(path: Path, *version: int) -> str | None:
    """`hparams_problem` of a file. version: what changes with its content."""
    return hparams_problem(path.read_text(encoding="utf-8"))


def hparams_problem(text: str) -> str | None:
    """What a file of hparams must not hold, in words; None if it is right. `yaml.YAMLError` for what is no YAML."""
    if _USUAL.fullmatch(text):
        return None
    for line in map(str.strip, text.splitlines()):  # as Hydra reads the header
        if line and not re.match(r"#\s*@", line):
            break
        if line and line != PACKAGE:
            return f"says {line!r}; files of hparams are of {PACKAGE!r}"
    tree = yaml.load(text, _LOADER)
    if tree is None:
        return None
    if not isinstance(tree, dict):
        return f"holds {type(tree).__name__}, not options of method and recipe"
    for section, options in tree.items():
        if section not in SECTIONS or not isinstance(options, dict | None):
            return f"holds {section!r}; files of hparams may hold options of method and recipe"
        for name in options or {}:
            if section == "method" and name in ("name", "label"):
                return f"gives method.{name}, which says what the method is; files of hparams may hold its options"
        if private := _private(options):
            return f"holds {private!r} in {section}, which is no option"
    return None


def _private(value: Any) -> str | None:
    """The first key that starts with an underscore, as ``_target_`` does, in nested dictionaries and lists."""
    if isinstance(value, dict):
        return next((str(key) for key in value if str(key).startswith("_")), None) or _private(list(value.values()))
    if isinstance(value, list):
        return next(filter(None, map(_private, value)), None)
    return None
