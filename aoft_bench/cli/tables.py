"""`aoft-bench tables [RESULTS] [foreign=FILE]`: the tables of a results folder, printed and written in every format."""

import sys
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli.results_folder import read_results
from aoft_bench.results.files import NAMES, table_files
from aoft_bench.results.foreign import foreign_tables, read_foreign
from aoft_bench.results.kept import Kept
from aoft_bench.results.reproduction_table import reproduction_tables
from aoft_bench.results.rules import read_proofs
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.writers.terminal import to_terminal
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import user_path, write_text_atomically

FOREIGN = "foreign="
ABOUT = "foreign=FILE: a CSV of others' numbers (method,task,seed,top1,source), ranked with ours in tables of its own"


def main(arguments: Sequence[str]) -> int:
    """Write the tables of all records that can be used; those that cannot are named and left out."""
    files = [word.removeprefix(FOREIGN) for word in arguments if word.startswith(FOREIGN)]
    if len(files) > 1:
        raise UserError(f"got {FOREIGN} {len(files)} times: give one file")
    foreign: list[Path] = [user_path(file, "foreign") for file in files]
    theirs = [row for path in foreign for row in read_foreign(path)]
    others = [word for word in arguments if not word.startswith(FOREIGN)]
    root, found, published, targets = read_results("tables", others, ABOUT)
    proofs = read_proofs(root, found.records)
    for left in proofs.left_out:
        print(f"aoft_bench: left out {left}", file=sys.stderr)
    every = [*found.left_out, *published.left_out, *proofs.left_out]
    notes = [f"Left out: {left.below(root)}." for left in every]
    comparisons = build_comparisons(found.records, proofs, kept := Kept(root))
    beside = foreign_tables(comparisons, theirs, foreign[0].name) if theirs else []
    reproduction = reproduction_tables(targets, comparisons)
    texts = table_files(comparisons, published.rows, notes, beside, reproduction)
    for left in kept.left_out.values():
        print(f"aoft_bench: left out {left}", file=sys.stderr)
    for name, text in texts.items():
        write_text_atomically(root / "tables" / name, text)
    for name in NAMES - texts.keys():
        (root / "tables" / name).unlink(missing_ok=True)
    print(texts["accuracy.md"])
    if beside:
        print(texts["foreign.md"])
    if reproduction[1:]:  # the overview is too wide
        print(to_terminal(reproduction[1:]))
    print(f"{len(found.records)} records -> {root / 'tables'}: {', '.join(sorted(texts))}")
    return 0
