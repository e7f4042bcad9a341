"""The argument RESULTS of tables, figures and report, and what is below it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli import ArgumentParser
from aoft_bench.results.collect import Collected, LeftOut, collect
from aoft_bench.results.published import Published, load
from aoft_bench.results.reproduction import Target, load_targets
from aoft_bench.utils.errors import UserError

OWN = Path("results")
SHIPPED = OWN / "shipped"  # of a checkout: the project's own evidence
DEFAULT = f"folder with records/ (default: {OWN}; {SHIPPED} while that has none)"


def results_folder(command: str, arguments: Sequence[str], about: str = "") -> Path:
    """The folder that the arguments of `command` name. about: what --help says of further arguments."""
    return Path(folder_parser(command, about).parse_args(arguments).results or default_folder())


def folder_parser(command: str, about: str = "") -> ArgumentParser:
    """The parser of a command whose first argument is RESULTS."""
    parser = ArgumentParser(command, epilog=about)
    parser.add_argument("results", nargs="?", type=Path, help=DEFAULT)
    return parser


def default_folder() -> Path:
    """One's own results, or the shipped ones while there are no records below it, which a line on stderr says."""
    if any((OWN / "records").rglob("*.json")) or not (SHIPPED / "records").is_dir():
        return OWN
    print(f"No records of your own below {OWN / 'records'}: this is {SHIPPED}, the project's.", file=sys.stderr)
    return SHIPPED


def read_results(root: Path) -> tuple[Collected, Published, list[Target]]:
    """(the records of a folder, published rows, those that sweeps aim at). What cannot be used is named on stderr;
    `UserError` where no record can be."""
    found, published = read_records(root, "run a cell first: aoft-bench --help"), load(root)
    targets = load_targets(root, published)
    _name(published.left_out)
    return found, published, targets


def read_records(root: Path, remedy: str) -> Collected:
    """The records of a folder. What cannot be used is named on stderr; `UserError` with `remedy` where none can be."""
    found = collect(root)
    _name(found.left_out)
    if not found.records:
        why = f"none of the {len(found.left_out)} records can be used (above)" if found.left_out else "no records"
        gone = "" if root.is_dir() else f" ({root} is no folder)"
        raise UserError(f"{why} below {root / 'records'}{gone}; {remedy}")
    return found


def _name(left_out: Sequence[LeftOut]) -> None:
    for left in left_out:
        print(f"aoft_bench: left out {left}", file=sys.stderr)
