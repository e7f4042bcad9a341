"""`aoft-bench tables [RESULTS] [foreign=FILE] [beside=DIR]`: the tables of a results folder, in every format."""

import sys
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli.results_folder import default_folder, folder_parser, read_records, read_results
from aoft_bench.records.schema import Record
from aoft_bench.results.accuracy_table import accuracy_table
from aoft_bench.results.files import NAMES, table_files
from aoft_bench.results.foreign import foreign_tables, read_foreign
from aoft_bench.results.kept import Kept
from aoft_bench.results.names import stem
from aoft_bench.results.published import PublishedRow, beside
from aoft_bench.results.reproduction_table import reproduction_tables
from aoft_bench.results.rules import read_proofs
from aoft_bench.results.settings import Comparison, build_comparisons
from aoft_bench.results.titles import Titles
from aoft_bench.results.writers.latex import to_latex
from aoft_bench.results.writers.markdown import to_markdown
from aoft_bench.results.writers.terminal import to_terminal
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.files import user_path, write_text_atomically
from aoft_bench.utils.text import counted

FOREIGN, BESIDE = "foreign=", "beside="
ABOUT = """foreign=FILE: a CSV of others' numbers (method,task,seed,top1,source), ranked with ours in tables of its own;
beside=DIR: the records of another results folder in the same tables, marked by its name"""
ONLY = "write the accuracy of this setting alone, as SETTING.tex, for a paper's \\input (a part of its name will do)"


def main(arguments: Sequence[str]) -> int:
    """Write the tables of all records that can be used; those that cannot are named and left out."""
    foreign, other = _path(arguments, FOREIGN), _path(arguments, BESIDE)
    theirs = read_foreign(foreign) if foreign else []
    others = [word for word in arguments if not word.startswith((FOREIGN, BESIDE))]
    parser = folder_parser("tables", ABOUT)
    parser.add_argument("--only", metavar="SETTING", help=ONLY)
    parsed = parser.parse_args(others)
    root = parsed.results or default_folder()
    found, published, targets = read_results(root)
    proofs = read_proofs(root, found.records)
    records = [*found.records, *(_marked(other, root) if other else [])]
    for left in proofs.left_out:
        print(f"aoft_bench: left out {left}", file=sys.stderr)
    every = [*found.left_out, *published.left_out, *proofs.left_out]
    notes = [f"Left out: {left.below(root)}." for left in every]
    comparisons = build_comparisons(records, proofs, kept := Kept(root), Titles.of(root))
    if parsed.only:
        return _write_one(root, _named(comparisons, parsed.only), published.rows)
    ranked = foreign_tables(comparisons, theirs, foreign.name) if foreign and theirs else []
    reproduction = reproduction_tables(targets, comparisons)
    texts = table_files(comparisons, published.rows, notes, ranked, reproduction)
    for left in kept.left_out.values():
        print(f"aoft_bench: left out {left}", file=sys.stderr)
    for name, text in texts.items():
        write_text_atomically(root / "tables" / name, text)
    for name in NAMES - texts.keys():
        (root / "tables" / name).unlink(missing_ok=True)
    print(texts["accuracy.md"])
    if ranked:
        print(texts["foreign.md"])
    if reproduction[1:]:  # the overview is too wide
        print(to_terminal(reproduction[1:]))
    print(f"{counted(len(records), 'record')} -> {root / 'tables'}: {', '.join(sorted(texts))}")
    return 0


def _named(comparisons: Sequence[Comparison], name: str) -> Comparison:
    """The setting whose name has `name` in it; raises `UserError` for none and for several."""
    by_name = {stem(one): one for one in comparisons}
    found = [key for key in by_name if name in key]
    if name not in by_name and len(found) > 1:
        raise UserError(f"--only {name} fits {len(found)} settings: give one of {', '.join(sorted(found))}")
    if not found:
        raise unknown("setting", name, by_name, "these have records")
    return by_name[name if name in by_name else found[0]]


def _write_one(root: Path, comparison: Comparison, published: Sequence[PublishedRow]) -> int:
    table = accuracy_table(comparison, beside(published, comparison))
    path = root / "tables" / f"{stem(comparison)}.tex"
    write_text_atomically(path, to_latex([table]))
    print(to_markdown([table]))
    print(f"{counted(len(comparison.records), 'record')} -> {path}")
    return 0


def _path(arguments: Sequence[str], name: str) -> Path | None:
    """The path that ``name=PATH`` gives; None without it."""
    given = [word.removeprefix(name) for word in arguments if word.startswith(name)]
    if len(given) > 1:
        raise UserError(f"got {name} {len(given)} times: give one {'file' if name == FOREIGN else 'folder'}")
    return user_path(given[0], name.rstrip("=")) if given else None


def _marked(folder: Path, root: Path) -> list[Record]:
    """The records of another folder, which say so in the names of their rows."""
    if folder.resolve() == root.resolve():
        raise UserError(f"{BESIDE}{folder}: these are the records of the tables themselves; give another folder")
    found = read_records(folder, "give a results folder")
    return [{**record, "origin": folder.name} for record in found.records]
