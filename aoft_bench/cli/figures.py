"""`aoft-bench figures [RESULTS]`: figures of a results folder, as PDF and PNG, with a page on them."""

from collections.abc import Sequence

from aoft_bench.cli.results_folder import read_results, results_folder
from aoft_bench.utils.parallel import cores
from aoft_bench.utils.text import counted

INTERRUPTED = "files are whole, some are of the call before"


def main(arguments: Sequence[str]) -> int:
    """Draw all records that can be used; those that cannot are named and left out."""
    root = results_folder("figures", arguments)
    found, published, _ = read_results(root)
    from aoft_bench.figures.write import write_figures  # takes matplotlib

    drawn = write_figures(root, found, published, cores())
    page, count = root / "figures" / "README.md", counted(len(found.records), "record")
    print(f"{count} -> {counted(drawn, 'figure')}, each as PDF and PNG: {page}")
    return 0
