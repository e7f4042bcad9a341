"""`aoft-bench tables [RESULTS] [foreign=FILE] [beside=DIR]`: the tables of a results folder, in every format."""

import sys
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli.results_folder import read_records, read_results
from aoft_bench.records.schema import Record
from aoft_bench.results.files import NAMES, table_files
from aoft_bench.results.foreign import foreign_tables, read_foreign
from aoft_bench.results.kept import Kept
from aoft_bench.results.reproduction_table import reproduction_tables
from aoft_bench.results.rules import read_proofs
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.writers.terminal import to_terminal
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import user_path, write_text_atomically

FOREIGN, BESIDE = "foreign=", "beside="
ABOUT = """foreign=FILE: a CSV of others' numbers (method,task,seed,top1,source), ranked with ours in tables of its own;
beside=DIR: the records of another results folder in the same tables, marked by its name"""


def main(arguments: Sequence[str]) -> int:
    """Write the tables of all records that can be used; those that cannot are named and left out."""
    foreign, beside = _path(arguments, FOREIGN), _path(arguments, BESIDE)
    theirs = read_foreign(foreign) if foreign else []
    others = [word for word in arguments if not word.startswith((FOREIGN, BESIDE))]
    root, found, published, targets = read_results("tables", others, ABOUT)
    proofs = read_proofs(root, found.records)
    records = [*found.records, *(_marked(beside, root) if beside else [])]
    for left in proofs.left_out:
        print(f"aoft_bench: left out {left}", file=sys.stderr)
    every = [*found.left_out, *published.left_out, *proofs.left_out]
    notes = [f"Left out: {left.below(root)}." for left in every]
    comparisons = build_comparisons(records, proofs, kept := Kept(root))
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
    print(f"{len(records)} records -> {root / 'tables'}: {', '.join(sorted(texts))}")
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
