"""What is in a results folder: its cells by setting and method, those that are not done, and why some failed."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from aoft_bench.records.files import cell_files
from aoft_bench.records.unfinished import read_notes, state_of
from aoft_bench.results.collect import collect
from aoft_bench.results.settings import Comparison, build_comparisons
from aoft_bench.results.titles import Titles
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import counted, one_line

NAMED = 20  # unfinished and failed cells that are named


def results_text(root: Path) -> str:
    """The text of `aoft-bench status` for the folder `root`."""
    found = collect(root)
    waiting, failed = list(_unfinished(root)), list(_failures(root))
    if not (found.records or found.left_out or waiting or failed):
        raise UserError(
            f"{root} holds no results; run a cell, as in python -m aoft_bench method=lora, or ask for the cells of a "
            "sweep: aoft-bench status -cn vtab1k"
        )
    counts = Counter(state for state, _ in waiting)
    parts = [f"{len(found.records):,} done", *(f"{number:,} {state}" for state, number in sorted(counts.items()))]
    parts += [f"{len(failed):,} failed"] if failed else []
    parts += [f"{len(found.left_out):,} that cannot be used (`aoft-bench tables` says why)"] if found.left_out else []
    lines = [f"cells in {root}: {', '.join(parts)}"]
    for one in build_comparisons(found.records, titles=Titles.of(root)):
        lines += ["", one.title, *_rows(one)]
    lines += _named("not done", [f"{state}: {name}" for state, name in waiting])
    lines += _named("failed", failed)
    return "\n".join(
        [*lines, "", "`aoft-bench tables` prints the numbers, `aoft-bench status -cn NAME` the cells of a sweep"]
    )


def _rows(one: Comparison) -> list[str]:
    """A line for each row of a table: its cells, and of which datasets and how many seeds they are."""
    width = max(len(row.label) for row in one.rows)
    return [
        f"  {row.label:<{width}}  {counted(len(row.records), 'cell'):>10}: "
        + ", ".join(f"{name} x {len(row.seeds(name))}" for name in one.datasets if name in row.cells)
        for row in one.rows
    ]


def _named(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = [f"  ... and {len(names) - NAMED:,} more"] if len(names) > NAMED else []
    return ["", what, *(f"  {name}" for name in names[:NAMED]), *more]


def _unfinished(root: Path) -> Iterator[tuple[str, str]]:
    """(state, name) of each cell that runs, or was stopped."""
    folder = root / "unfinished"
    for name in sorted({path.relative_to(folder).with_suffix("") for path in folder.rglob("*.lock")}):
        state = state_of(cell_files(root, root / "records" / name.with_suffix(".json")))
        if state in ("running", "stopped"):
            yield state, one_line(name.as_posix())


def _failures(root: Path) -> Iterator[str]:
    """A line for each cell that failed: its name and the error."""
    for path in sorted((root / "failures").rglob("*.json")):
        notes = read_notes(path) or {}
        error = str(notes.get("error", "the file cannot be read")).partition("\n")[0]
        yield one_line(f"{notes.get('label', path)}: {error}")
