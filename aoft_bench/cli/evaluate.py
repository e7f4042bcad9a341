"""`aoft-bench evaluate RECORD [name=value ...]`: score the saved parameters of a record again.

Prints the recorded and the reproduced accuracy. The exit code is 0 if they are equal, 1 if they differ, and 2 if they
cannot be compared. Paths that differ on this machine are given as name=value, such as data.root=DIR.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aoft_bench.cli import ArgumentParser, method_class
from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError, unknown

# options that may differ from the record's, since they do not change the number
MOVABLE = (
    *(f"data.{name}" for name in ("root", "cache", "source", "tfds_dir", "manual_dir")),
    *("backbone.checkpoint", "trainer.eval_batch_size", "trainer.threads"),
)


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
    from aoft_bench.config.schema import from_dict
    from aoft_bench.experiments.experiment import prepare_experiment, score_model
    from aoft_bench.training import hardware
    from aoft_bench.training.trained_file import read_trained

    tree = record["config"]
    tree["trainer"]["precision"] = record["precision"]
    for name, value in changes.items():
        section, _, key = name.partition(".")
        tree[section][key] = value
    config = from_dict(tree, method_class)
    state = read_trained(path, record)
    hardware.prepare_cpu(config.trainer.threads)
    experiment = prepare_experiment(config)
    for what, found, recorded in (
        ("data", experiment.prepared.fingerprint, record["data"]["fingerprint"]),
        ("backbone weights", experiment.weights_sha256, record["weights"]["sha256"]),
        ("configuration", experiment.digest, record["hash"]),
    ):
        if found != recorded:
            raise UserError(
                f"the {what} here are not those of the record: got {found[:12]}, the record has {recorded[:12]}"
            )
    adapted = experiment.build_model(prepared=state)
    adapted.handle.load_state_dict(state)
    if adapted.handle.choice_digest() != record.get("prepared"):
        raise UserError(
            f"the parameters beside {path} are of another run: what the method chose from training images is not what "
            "the record says; run the cell again with results.mode=force"
        )
    score = score_model(experiment, adapted)
    return score.correct, score.total


def parse_changes(words: list[str]) -> dict[str, Any]:
    """Return name=value words as a dictionary. Raises `UserError` for a name that is not in `MOVABLE`."""
    from aoft_bench.config.command_line import quoted, split_word
    from aoft_bench.config.compose import parse_override

    changes: dict[str, Any] = {}
    for word in words:
        name, _ = split_word(word, "data.root=DIR")
        if name not in MOVABLE:
            raise unknown("change", name, MOVABLE, "everything else is part of what the record's number means")
        override = parse_override(quoted(word))
        if override.is_sweep_override():
            raise UserError(f"{word} has several values: give one, in quotes if it has a comma")
        changes[name] = override.value()
    return changes
