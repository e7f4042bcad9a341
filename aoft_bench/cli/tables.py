"""`aoft-bench tables [RESULTS]`: the tables of a results folder, printed, and written in every format."""

import sys
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli import ArgumentParser
from aoft_bench.results.collect import Collected, collect
from aoft_bench.results.files import NAMES, table_files
from aoft_bench.results.published import load
from aoft_bench.results.settings import build_comparisons
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_text_atomically


def main(arguments: Sequence[str]) -> int:
    """Write the tables of all records that can be used; those that cannot are named and left out.

    Raises `UserError` where nothing can be used, or where a file cannot be written.
    """
    parser = ArgumentParser("tables")
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
    files = table_files(build_comparisons(found.records), load(root), _notes(root, found))
    for name, text in files.items():
        write_text_atomically(root / "tables" / name, text)
    for name in NAMES - files.keys():
        (root / "tables" / name).unlink(missing_ok=True)
    print(files["accuracy.md"])
    print(f"{len(found.records)} records -> {root / 'tables'}: {', '.join(sorted(files))}")
    return 0


def _notes(root: Path, found: Collected) -> list[str]:
    """What is said of the records left out, with paths as they are below the results folder."""
    return [
        f"Left out: {left.path.relative_to(root)}: {left.reason.replace(f'{root}/', '')}." for left in found.left_out
    ]
