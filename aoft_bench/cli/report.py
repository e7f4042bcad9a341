"""`python -m aoft_bench report [RESULTS]`: the results folder as one self-contained HTML page, RESULTS/report.html."""

import argparse
import sys
from pathlib import Path

from aoft_bench.report.page import write_report
from aoft_bench.utils.errors import UserError


def main() -> int:
    """Write the page; exit code 2 with one line for what the user can mend. Records left out are named on stderr."""
    parser = argparse.ArgumentParser(prog="python -m aoft_bench report", description=__doc__)
    parser.add_argument(
        "results", nargs="?", default="results", type=Path, help="folder with records/ (default: results)"
    )
    try:
        written = write_report(parser.parse_args().results)
    except UserError as error:
        print(f"aoft_bench: {error}", file=sys.stderr)
        return 2
    for path, reason in written.left_out:
        print(f"aoft_bench: left out {path}: {reason}", file=sys.stderr)
    print(
        f"{written.records} records, {written.figures} figures -> {written.path} ({written.size / 1e6:.1f} MB); "
        "open it in a browser"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
