"""`aoft-bench report [RESULTS]`: the results folder as one self-contained HTML page, RESULTS/report.html."""

import sys
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli import ArgumentParser
from aoft_bench.report.page import write_report


def main(arguments: Sequence[str]) -> int:
    """Write the page. Records left out are named on stderr."""
    parser = ArgumentParser("report")
    parser.add_argument(
        "results", nargs="?", default="results", type=Path, help="folder with records/ (default: results)"
    )
    written = write_report(parser.parse_args(arguments).results)
    for path, reason in written.left_out:
        print(f"aoft_bench: left out {path}: {reason}", file=sys.stderr)
    print(
        f"{written.records} records, {written.figures} figures -> {written.path} ({written.size / 1e6:.1f} MB); "
        "open it in a browser"
    )
    return 0
