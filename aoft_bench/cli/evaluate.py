"""`aoft-bench evaluate RECORD [name=value ...]`: score the saved parameters of a record again.

Prints the recorded and the reproduced accuracy, and compares the predictions of every image where they were kept. The
exit code is 0 if all is equal, 1 if something differs, and 2 if it cannot be compared. Paths that differ on this
machine are given as name=value, such as data.root=DIR.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aoft_bench.cli import ArgumentParser
from aoft_bench.cli.changes import MOVABLE, parse_changes
from aoft_bench.records.files import read_record
from aoft_bench.records.predictions import Predictions, has_predictions, keeps_predictions, read_predictions

if TYPE_CHECKING:
    from aoft_bench.experiments.experiment import Score

SAME = 0.01  # how far a probability may be off: no rounding in fp32 comes near it, in bf16 other hardware may


def main(arguments: Sequence[str]) -> int:
    """Score a record's parameters again. Exit code 1 if the number of correct images or a prediction differs."""
    parser = ArgumentParser("evaluate")
    parser.add_argument("record", type=Path, help="a JSON file below results/records")
    parser.add_argument("changes", nargs="*", default=[], metavar="name=value", help=f"one of {', '.join(MOVABLE)}")
    parsed = parser.parse_args(arguments)
    record = read_record(parsed.record, anywhere=True)
    # read first: a damaged file is found before the images are scored
    kept = read_predictions(parsed.record, record) if has_predictions(parsed.record, record) else None
    score = reproduce(record, parsed.record, parse_changes(parsed.changes))
    correct, total, recorded = score.correct, score.total, record["metrics"]
    same = (correct, total) == (recorded["correct"], recorded["total"])
    print(
        f"recorded   {recorded['split']} top-1 {recorded['top1']:.4f} % ({recorded['correct']} of {recorded['total']})"
    )
    print(f"reproduced {recorded['split']} top-1 {100 * correct / total:.4f} % ({correct} of {total})")
    if kept is not None:
        classes, largest = differences(kept, score.predictions)
        same = same and not classes and largest <= SAME
        print(
            f"predictions of {classes:,} of {total:,} images are of another class; their probabilities differ by at "
            f"most {largest:.2g}"
        )
    elif keeps_predictions(record):
        print("predictions are not compared: their file is not beside the record")
    if not record.get("trained_sha256"):
        print("the record of an older version has no SHA-256 of its parameters: the file here was taken as it is")
    print("equal" if same else "NOT equal: other hardware or other versions of the packages round differently")
    return 0 if same else 1


def differences(recorded: Predictions, found: Predictions) -> tuple[int, float]:
    """(of how many images the predicted class differs, the largest difference of two probabilities)."""
    apart = [
        float(np.abs(getattr(recorded, name) - getattr(found, name)).max())
        for name in ("confidence", "probability_of_label")
    ]
    return int((recorded.predicted != found.predicted).sum()), max(apart)


def reproduce(record: dict[str, Any], path: Path, changes: dict[str, Any]) -> "Score":
    """Score a record's saved parameters on the record's split.

    Raises `UserError` if the parameters, the data or the backbone are missing or are not those of the record.
    """
    from aoft_bench.experiments.experiment import score_model
    from aoft_bench.experiments.trained_run import open_run

    run = open_run(path, record, changes)
    experiment = run.experiment()
    return score_model(experiment, run.trained(experiment.device))
