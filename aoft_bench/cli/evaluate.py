"""`aoft-bench evaluate RECORD [alpha=0,0.5,1] [name=value ...]`: score the saved parameters of a record again.

Prints the recorded and the reproduced accuracy, and compares the predictions of every image where they were kept. The
exit code is 0 if all is equal, 1 if something differs, and 2 if it cannot be compared. Paths that differ on this
machine are given as name=value, such as data.root=DIR.

With alpha= the weights between the pre-trained network (0) and the trained one (1) are scored, all but the head: a
line for each. The test split is opened again for this, so no alpha may be chosen by it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aoft_bench.cli import ArgumentParser
from aoft_bench.cli.changes import MOVABLE, parse_changes, record_first
from aoft_bench.records.files import read_record
from aoft_bench.records.predictions import Predictions, has_predictions, keeps_predictions, read_predictions
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import shown

if TYPE_CHECKING:
    from aoft_bench.experiments.scoring import Score

SAME = 0.01  # how far a probability may be off: no rounding in fp32 comes near it, in bf16 other hardware may


def main(arguments: Sequence[str]) -> int:
    """Score a record's parameters again. Exit code 1 if the number of correct images or a prediction differs."""
    parser = ArgumentParser("evaluate")
    parser.add_argument("record", type=Path, help="a JSON file below results/records")
    parser.add_argument(
        "changes",
        nargs="*",
        default=[],
        metavar="name=value",
        help=f"alpha=0,0.5,1 (weights between the pre-trained and the trained network), or one of {', '.join(MOVABLE)}",
    )
    parsed = parser.parse_args(record_first(arguments))
    changes = parse_changes(parsed.changes, ("alpha",))
    alphas = _alphas(changes.pop("alpha", ""))
    record = read_record(parsed.record, anywhere=True)
    if alphas:
        return between(record, parsed.record, changes, alphas)
    # read first: a damaged file is found before the images are scored
    kept = read_predictions(parsed.record, record) if has_predictions(parsed.record, record) else None
    score = reproduce(record, parsed.record, changes)
    correct, total, recorded = score.correct, score.total, record["metrics"]
    same = (correct, total) == (recorded["correct"], recorded["total"])
    print(
        f"recorded   {recorded['split']} top-1 {recorded['top1']:.4f} % ({recorded['correct']} of {recorded['total']})"
    )
    print(f"reproduced {recorded['split']} top-1 {100 * correct / total:.4f} % ({correct} of {total})")
    for name, one in recorded.get("shifts", {}).items():
        again = score.shifts[name]
        same = same and (one["correct"], one["total"]) == (again.correct, again.total)
        print(f"{name}: recorded {one['correct']} of {one['total']}, reproduced {again.correct} of {again.total}")
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
    from aoft_bench.experiments.scoring import score_model
    from aoft_bench.experiments.trained_run import open_run

    run = open_run(path, record, changes)
    experiment = run.experiment()
    return score_model(experiment, run.trained(experiment.device))


def between(record: dict[str, Any], path: Path, changes: dict[str, Any], alphas: list[float]) -> int:
    """Print the accuracy of weights between the pre-trained network and the trained one.

    Exit code 1 if alpha = 1 is among them and is not the record's number.
    """
    from aoft_bench.experiments.interpolation import scores_between
    from aoft_bench.experiments.trained_run import open_run

    run, recorded = open_run(path, record, changes), record["metrics"]
    same, above = (
        True,
        f"(1 - alpha) pre-trained + alpha trained weights, the trained head: {recorded['split']} top-1\n",
    )
    for alpha, score in scores_between(run, run.experiment(), alphas):
        line = f"alpha {alpha:<5g} {100 * score.correct / score.total:8.4f} % ({score.correct} of {score.total})"
        if alpha == 1:
            same = (score.correct, score.total) == (recorded["correct"], recorded["total"])
            line += ", as recorded" if same else f", NOT as recorded: {recorded['correct']} of {recorded['total']}"
        print(above + line, flush=True)
        above = ""
    if recorded["split"] == "test":
        print("the test split was opened again for this: report all of it, and choose no alpha by it")
    return 0 if same else 1


def _alphas(text: str) -> list[float]:
    """The numbers of alpha=; `UserError` for one that is none, or not from 0 to 1."""
    numbers: list[float] = []
    for part in text.strip("[]").split(",") if text else []:
        try:
            number = float(part)
        except ValueError:
            number = math.nan
        if not 0 <= number <= 1:
            raise UserError(
                f"alpha: got {shown(part)}, give numbers from 0 (pre-trained) to 1 (trained), as in 0,0.5,1"
            )
        numbers.append(number)
    return numbers
