"""`aoft-bench report [RESULTS]`: the results folder as one self-contained HTML page, RESULTS/report.html."""

import sys
from collections.abc import Sequence

from aoft_bench.cli.results_folder import results_folder
from aoft_bench.report.page import write_report
from aoft_bench.utils.text import counted


def main(arguments: Sequence[str]) -> int:
    """Write the page. What is left out is named on stderr."""
    written = write_report(results_folder("report", arguments))
    for path, reason in written.left_out:
        print(f"aoft_bench: left out {path}: {reason}", file=sys.stderr)
    size = f"{written.size / 1e6:.1f} MB"
    drawn = counted(written.figures, "figure")
    print(f"{counted(written.records, 'record')}, {drawn} -> {written.path} ({size}); open it in a browser")
    return 0
