"""`aoft-bench evaluate RECORD [name=value ...]`: score the saved parameters of a record again.

Prints the recorded and the reproduced accuracy. The exit code is 0 if they are equal, 1 if they differ, and 2 if they
cannot be compared. Paths that differ on this machine are given as name=value, such as data.root=DIR.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aoft_bench.cli import ArgumentParser
from aoft_bench.cli.changes import MOVABLE, parse_changes
from aoft_bench.records.files import read_record


def main(arguments: Sequence[str]) -> int:
    """Score a record's parameters again. Exit code 1 if the number of correct images differs."""
    parser = ArgumentParser("evaluate")
    parser.add_argument("record", type=Path, help="a JSON file below results/records")
    parser.add_argument("changes", nargs="*", default=[], metavar="name=value", help=f"one of {', '.join(MOVABLE)}")
    parsed = parser.parse_args(arguments)
    record = read_record(parsed.record, anywhere=True)
    correct, total = reproduce(record, parsed.record, parse_changes(parsed.changes))
    recorded = record["metrics"]
    same = (correct, total) == (recorded["correct"], recorded["total"])
    print(
        f"recorded   {recorded['split']} top-1 {recorded['top1']:.4f} % ({recorded['correct']} of {recorded['total']})"
    )
    print(f"reproduced {recorded['split']} top-1 {100 * correct / total:.4f} % ({correct} of {total})")
    if not record.get("trained_sha256"):
        print("the record of an older version has no SHA-256 of its parameters: the file here was taken as it is")
    print("equal" if same else "NOT equal: other hardware or other versions of the packages round differently")
    return 0 if same else 1


def reproduce(record: dict[str, Any], path: Path, changes: dict[str, Any]) -> tuple[int, int]:
    """Score a record's saved parameters on the record's split; returns the numbers of correct and of all images.

    Raises `UserError` if the parameters, the data or the backbone are missing or are not those of the record.
    """
    from aoft_bench.experiments.experiment import score_model
    from aoft_bench.experiments.trained_run import open_run

    run = open_run(path, record, changes)
    experiment = run.experiment()
    score = score_model(experiment, run.trained(experiment.device))
    return score.correct, score.total
