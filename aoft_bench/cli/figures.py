"""`aoft-bench figures [RESULTS]`: figures of a results folder, as PDF and PNG, with a page on them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli import ArgumentParser
from aoft_bench.figures.parallel import cores
from aoft_bench.results.collect import collect
from aoft_bench.utils.errors import UserError

INTERRUPTED = "files are whole, some are of the call before"


def main(arguments: Sequence[str]) -> int:
    """Draw all records that can be used; those that cannot are named and left out.

    Raises `UserError` where nothing can be used.
    """
    parser = ArgumentParser("figures")
    parser.add_argument(
        "results", nargs="?", default="results", type=Path, help="folder with records/ (default: results)"
    )
    root = parser.parse_args(arguments).results
    found = collect(root)
    for left in found.left_out:
        print(f"aoft_bench: left out {left}", file=sys.stderr)
    if not found.records:
        why = f"none of the {len(found.left_out)} records can be used (above)" if found.left_out else "no records"
        raise UserError(f"{why} below {root / 'records'}; run a cell first: aoft-bench --help")
    from aoft_bench.figures.write import write_figures  # takes matplotlib

    drawn = write_figures(root, found, cores())
    print(f"{len(found.records)} records -> {drawn} figures, each as PDF and PNG: {root / 'figures' / 'README.md'}")
    return 0
