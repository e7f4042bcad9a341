"""`aoft-bench tables [RESULTS]`: the tables of a results folder, printed, and written in every format."""

from collections.abc import Sequence

from aoft_bench.cli.results_folder import read_results
from aoft_bench.results.files import NAMES, table_files
from aoft_bench.results.settings import build_comparisons
from aoft_bench.utils.files import write_text_atomically


def main(arguments: Sequence[str]) -> int:
    """Write the tables of all records that can be used; those that cannot are named and left out."""
    root, found, published = read_results("tables", arguments)
    notes = [f"Left out: {left.below(root)}." for left in [*found.left_out, *published.left_out]]
    files = table_files(build_comparisons(found.records), published.rows, notes)
    for name, text in files.items():
        write_text_atomically(root / "tables" / name, text)
    for name in NAMES - files.keys():
        (root / "tables" / name).unlink(missing_ok=True)
    print(files["accuracy.md"])
    print(f"{len(found.records)} records -> {root / 'tables'}: {', '.join(sorted(files))}")
    return 0
