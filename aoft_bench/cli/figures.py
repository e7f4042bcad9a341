"""`python -m aoft_bench figures [RESULTS]`: figures of a results folder, as PDF and PNG, with a page on them."""

import argparse
import sys
from pathlib import Path

from aoft_bench.figures.parallel import cores
from aoft_bench.figures.write import write_figures
from aoft_bench.results.collect import collect
from aoft_bench.utils.errors import UserError


def main() -> int:
    """Draw all records that can be used; those that cannot are named and left out.

    Exit code 2 where nothing can be used, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m aoft_bench figures", description=__doc__)
    parser.add_argument(
        "results", nargs="?", default="results", type=Path, help="folder with records/ (default: results)"
    )
    root = parser.parse_args().results
    try:
        found = collect(root)
        for left in found.left_out:
            print(f"aoft_bench: left out {left}", file=sys.stderr)
        if not found.records:
            why = f"none of the {len(found.left_out)} records can be used (above)" if found.left_out else "no records"
            raise UserError(f"{why} below {root / 'records'}; run a cell first: python -m aoft_bench --help")
        drawn = write_figures(root, found, cores())
    except UserError as error:
        print(f"aoft_bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\naoft_bench: interrupted; files are whole, some are of the call before", file=sys.stderr)
        return 130
    print(f"{len(found.records)} records -> {drawn} figures, each as PDF and PNG: {root / 'figures' / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
