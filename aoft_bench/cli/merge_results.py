"""`aoft-bench merge-results A B ... out=C`: the records of several results folders in one.

Every record is checked as `tables` checks it. The exit code is 0 if all cells of all folders are in C, 1 if some are
not, since two folders disagree or a file cannot be used (each is named), and 2 after a mistake.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli import ArgumentParser
from aoft_bench.records.code_version import code_digest
from aoft_bench.results.merge import REPORT, check_code, disagreements, merge, provenance, read_source, write_merge
from aoft_bench.results.writers.terminal import to_terminal
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.files import user_path
from aoft_bench.utils.text import counted

INTERRUPTED = "nothing is written"
SHOWN = 20  # cells that disagree, and files, named on the terminal


def main(arguments: Sequence[str]) -> int:
    """Merge folders. Raises `UserError`, and writes nothing, for folders that cannot be merged."""
    parser = ArgumentParser("merge-results")
    parser.add_argument("words", nargs="+", metavar="FOLDER", help="results folders, two or more")
    parser.add_argument("out", nargs="?", metavar="out=C", help="the new folder; it must not exist, or be empty")
    parser.add_argument(
        "code",
        nargs="?",
        metavar="code=DIGEST,..|any",
        help="other versions of the code whose records are taken too",
    )
    roots, out, codes = _read(parser.parse_args(arguments).words)
    sources = [read_source(root) for root in roots]
    if codes != ["any"]:
        check_code(sources, [code_digest(), *codes])
    merged = merge(sources)
    lines = [f"disagree {text}" for text in disagreements(merged)] + [f"left out {left}" for left in merged.left_out]
    if not merged.kept:
        raise UserError(f"no cell is left to keep; the first: {lines[0]}")
    write_merge(merged, out)
    for line in lines[:SHOWN]:
        print(f"aoft_bench: {line}", file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"aoft_bench: and {len(lines) - SHOWN:,} more, in {out / REPORT}", file=sys.stderr)
    print(to_terminal([provenance(merged)]), end="")
    print(
        f"{counted(len(merged.kept), 'record')} -> {out}; {out / REPORT} says where each came from and what is missing"
    )
    return 0 if merged.complete else 1


def _read(words: Sequence[str]) -> tuple[list[Path], Path, list[str]]:
    """(folders, out, code) of the arguments. Raises `UserError` where they cannot be merged."""
    values: dict[str, str] = {}
    roots = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or os.path.exists(word):
            roots.append(user_path(word, "FOLDER"))
        elif name not in ("out", "code"):
            raise unknown("argument", name, ("out", "code"), "all others are results folders")
        elif name in values:
            raise UserError(f"got {name}= twice: give it once")
        else:
            values[name] = value
    if len(roots) < 2:
        raise UserError(f"got {len(roots)} folder{'s' * (len(roots) != 1)}: give two or more, as in A B out=C")
    if not values.get("out"):
        raise UserError("where to? give a new folder, as in out=C")
    out = user_path(values["out"], "out")
    _check_places(roots, out)
    codes = values.get("code", "").split(",") if values.get("code") else []
    return roots, out, codes


def _check_places(roots: Sequence[Path], out: Path) -> None:
    seen: dict[Path, Path] = {}
    for root in roots:
        if (first := seen.setdefault(root.resolve(), root)) is not root:
            raise UserError(f"{first} and {root} are the same folder: give each once")
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"out={out} exists and is not an empty folder; give a new one")
    for root in roots:
        if out.resolve().is_relative_to(root.resolve()):
            raise UserError(f"out={out} is inside {root}, which is merged; give a folder elsewhere")
