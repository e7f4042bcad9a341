"""`aoft-bench verify RECORD...|FOLDER [sample=N] [seed=S]`: run a sample of somebody's cells again.

Each cell of the sample is trained and scored once more, in a folder of its own, and its number compared with the
record's. What came out is kept in RESULTS/verified.json, which the rules of the results page read. The exit code is 0
if all numbers came out, 1 if one did not, and 2 if a cell could not be run here.
"""

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aoft_bench.cli import ArgumentParser
from aoft_bench.cli.changes import MOVABLE, parse_changes
from aoft_bench.records.code_version import code_digest
from aoft_bench.records.files import command_of
from aoft_bench.records.schema import Record
from aoft_bench.results.collect import Collected, collect, read_usable
from aoft_bench.results.verified import (
    LIMIT,
    NAME,
    Verification,
    key_of,
    machine_of,
    read_verified,
    tolerance_of,
    write_verified,
)
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import check_writable, user_path
from aoft_bench.utils.text import one_line

INTERRUPTED = f"what has come out so far is in {NAME}"
ACCELERATOR = "trainer.accelerator"
NUMBERS = {"sample": 3, "seed": 0}

WHY = f"""equal: as many right images as recorded, which one machine gives again with the same versions.
within the spread: another processor or other versions round differently, training carries that on, and a cell ends as
  far away as with another seed. Two such results differ by more than 1.96 √2 = {LIMIT} standard deviations over seeds
  once in 20 times: that is the tolerance. The spread is of the other cells of the row; without two other seeds of a
  task there is none, and only equal numbers come out."""


@dataclass(frozen=True)
class Cell:
    """A cell that may be run again, and the others of its results folder."""

    root: Path
    record: Record
    others: Sequence[Record]


def main(arguments: Sequence[str]) -> int:
    """Verify a sample of records."""
    parser = ArgumentParser("verify")
    parser.add_argument("words", nargs="+", metavar="RECORD|FOLDER", help="records, or results folders or parts of one")
    parser.add_argument("sample", nargs="?", metavar="sample=N", help="how many cells, by default 3")
    parser.add_argument("seed", nargs="?", metavar="seed=S", help="of the choice of cells, by default 0")
    movable = ", ".join((*MOVABLE, ACCELERATOR))
    parser.add_argument("changes", nargs="*", metavar="name=value", help=f"of this machine: {movable}")
    places, size, seed, changes = _read(parser.parse_args(arguments).words)
    cells = _cells(places)
    chosen = random.Random(seed).sample(cells, min(size, len(cells)))
    for root in dict.fromkeys(cell.root for cell in chosen):
        check_writable(root / NAME, "what came out", "the argument, of a copy")
        _verifications(root)  # a damaged file is found before anything runs
    print(f"{len(chosen)} of {len(cells)} cells, chosen with seed {seed}; code {code_digest()[:8]} here", flush=True)
    outcomes: Counter[str] = Counter()
    for number, cell in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {one_line(key_of(cell.record))}", flush=True)
        try:
            found = _again(cell, changes)
        except UserError as error:
            outcomes["not run"] += 1
            why = "; ".join(line.strip() for line in str(error).splitlines())  # data and weights may be missing both
            print(f"  cannot be run here: {why}", file=sys.stderr, flush=True)
            continue
        write_verified(cell.root, [*_verifications(cell.root), found])
        outcomes[found.outcome] += 1
        print(_said(cell, found), flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    if outcomes.keys() != {"not run"}:
        print(WHY)
    if outcomes["differs"]:
        return 1
    return 2 if outcomes["not run"] else 0


def _read(words: Sequence[str]) -> tuple[list[Path], int, int, dict[str, Any]]:
    """(places, sample, seed, changes) of the arguments."""
    places = [user_path(word, "RECORD|FOLDER") for word in words if "=" not in word or Path(word).exists()]
    if not places:
        raise UserError("which cells? give records or a results folder, as in aoft-bench verify results sample=5")
    own = (*NUMBERS, ACCELERATOR)
    changes = parse_changes([word for word in words if "=" in word and not Path(word).exists()], own)
    numbers = dict(NUMBERS)
    for name, lowest in (("sample", 1), ("seed", 0)):
        value = changes.pop(name, str(numbers[name]))
        if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) >= lowest):
            raise UserError(f"{name}={value}: give a whole number from {lowest}, as in {name}={numbers[name]}")
        numbers[name] = int(value)
    return places, numbers["sample"], numbers["seed"], changes


def _cells(places: Sequence[Path]) -> list[Cell]:
    """The cells in these places, each once. Raises `UserError` for a place without a record that can be used."""
    found: dict[Path, Cell] = {}
    folders: dict[Path, Collected] = {}
    for place in places:
        root = _root_of(place)
        if place.is_file():
            read_usable(place, anywhere=False)  # for its reason
        if root not in folders:  # once for all records of a folder
            folders[root] = collect(root)
        collected = folders[root]
        inside = {
            path: Cell(root, record, collected.records)
            for path, record in zip(collected.paths, collected.records, strict=True)
            if path.resolve().is_relative_to(place.resolve())
        }
        for left in collected.left_out:
            if left.path.resolve().is_relative_to(place.resolve()):
                print(f"aoft_bench: left out {left}", file=sys.stderr)
        if not inside:
            raise UserError(f"no record that can be used below {one_line(str(place))}; run a cell first")
        found |= {path.resolve(): cell for path, cell in inside.items()}
    return [found[path] for path in sorted(found)]


def _root_of(place: Path) -> Path:
    """The results folder that a record or a part of it lies in."""
    if not place.exists():
        raise UserError(f"{one_line(str(place))} is not here; give records, or folders as results.root=DIR names them")
    whole = place.absolute()
    for folder in (place, *whole.parents):
        if (folder / "records").is_dir() and (folder == place or whole.is_relative_to(folder / "records")):
            return folder
    raise UserError(f"{one_line(str(place))} is in no results folder: records are <results>/records/**/*.json")


def _verifications(root: Path) -> list[Verification]:
    cells, damaged = read_verified(root)
    if damaged:
        raise UserError(str(damaged[0]))
    return cells


def _again(cell: Cell, changes: dict[str, Any]) -> Verification:
    """Run a cell once more, and compare. Raises `UserError` for what this machine lacks, or if it has no number."""
    from aoft_bench.experiments.device import kind_of, processes_of
    from aoft_bench.experiments.run import run_experiment
    from aoft_bench.experiments.trained_run import config_of, experiment_of

    record = cell.record
    with tempfile.TemporaryDirectory(prefix="aoft-bench-verify-") as folder:
        own = {"logger.name": "none", "results.root": folder, "results.mode": "missing"}
        config = config_of(record, changes | own)
        gpu = record["hardware"].get("gpu")
        if gpu and ACCELERATOR not in changes and kind_of(config.trainer) == "cpu":
            raise UserError(f"it ran on {gpu}, and torch sees no GPU; trainer.accelerator=cpu runs it on the CPU")
        processes = processes_of(config.trainer)
        command = command_of(record) or "python -m aoft_bench"
        again = run_experiment(experiment_of(record, config), command, processes)
    metrics = record["metrics"]
    return Verification(
        record=key_of(record),
        correct=metrics["correct"],
        total=metrics["total"],
        reproduced=again["metrics"]["correct"],
        tolerance=tolerance_of(record, cell.others),
        code=again["code"],
        hardware=machine_of(again),
        torch=again["versions"]["torch"],
        finished=again["finished"],
    )


def _said(cell: Cell, found: Verification) -> str:
    """What came out, and what differs from the first run beside the number."""
    recorded, again = (100 * right / found.total for right in (found.correct, found.reproduced))
    numbers = f"recorded {recorded:.2f} % ({found.correct:,} of {found.total:,}), again {again:.2f} %"
    if found.outcome == "equal":
        limit = ""
    elif found.tolerance is None:
        limit = f" by {found.difference:+.2f} points; without two other seeds of a task no tolerance is known"
    else:
        limit = f", {found.difference:+.2f} points, tolerance {found.tolerance:.2f}"
    record = cell.record
    pairs = (
        ("machine", machine_of(record), found.hardware),
        ("torch", record.get("versions", {}).get("torch"), found.torch),
        ("code", (record.get("code") or "unknown")[:8], found.code[:8]),
    )
    unlike = [f"{name} {first} (here: {second})" for name, first, second in pairs if first != second]
    other = "; ".join(unlike) or "the same machine, torch and code"
    return f"  {numbers} ({found.reproduced:,}): {found.outcome}{limit}\n  {one_line(other)}"
