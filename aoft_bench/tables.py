"""`python -m aoft_bench.tables [RESULTS]`: the tables of a results folder, printed and written as Markdown."""

import argparse
import sys
from pathlib import Path

from aoft_bench.errors import UserError
from aoft_bench.results.records import records, write_text_atomically
from aoft_bench.results.tables import build_tables, markdown


def main() -> int:
    """Read every record below the folder and print the tables; a damaged record is named and nothing is written."""
    parser = argparse.ArgumentParser(prog="python -m aoft_bench.tables", description=__doc__)
    parser.add_argument(
        "results", nargs="?", default="results", type=Path, help="folder with records/ (default: results)"
    )
    root = parser.parse_args().results
    try:
        found = [record for _, record in records(root)]
        if not found:
            raise UserError(f"no records below {root / 'records'}; run a cell first: python -m aoft_bench --help")
        text = markdown(build_tables(found))
        path = root / "tables" / "accuracy.md"
        write_text_atomically(path, text)
    except UserError as error:
        print(f"aoft_bench: {error}", file=sys.stderr)
        return 2
    print(text)
    print(f"{len(found)} records -> {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
