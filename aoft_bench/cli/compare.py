"""`aoft-bench compare A B [name=value ...]`: is A better than B on a dataset, image by image.

A and B are both methods (names of rows of the tables) in the results folder, or both files of records. name=value
chooses among several datasets and settings, as in dataset=eurosat epochs=20. Prints five lines that a paper can quote.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from aoft_bench.cli import ArgumentParser
from aoft_bench.cli.results_folder import DEFAULT, default_folder, read_records
from aoft_bench.config.command_line import split_word
from aoft_bench.records.predictions import read_predictions
from aoft_bench.records.schema import Record
from aoft_bench.results.collect import read_usable
from aoft_bench.results.kept import Kept
from aoft_bench.results.method_comparison import Side, answer
from aoft_bench.results.rows import Row
from aoft_bench.results.settings import Comparison, build_comparisons
from aoft_bench.results.titles import BUILT_IN, Titles
from aoft_bench.utils.errors import UserError, unknown

# what chooses among several: name -> its value in a record
CHOICES: dict[str, Callable[[Record], str]] = {
    "dataset": lambda record: record["dataset"],
    "backbone": lambda record: record["backbone"],
    "protocol": lambda record: record["protocol"]["name"],
    "epochs": lambda record: str(record["config"]["recipe"]["epochs"]),
    "img_size": lambda record: str(record["config"]["backbone"]["img_size"]),
    "precision": lambda record: record["precision"],
    "train": lambda record: _drawn(record, "train"),
    "shots": lambda record: _drawn(record, "shots"),
}


def main(arguments: Sequence[str]) -> int:
    """Print the answer."""
    parser = ArgumentParser("compare")
    parser.add_argument("a", metavar="A", help="a method, as its row is called in the tables, or the file of a record")
    parser.add_argument("b", metavar="B", help="another one")
    parser.add_argument("chosen", nargs="*", metavar="name=value", help=f"of {', '.join(CHOICES)}")
    parser.add_argument("--results", type=Path, help=DEFAULT)
    parsed = parser.parse_intermixed_args(arguments)
    files = [name for name in (parsed.a, parsed.b) if name.endswith(".json")]
    if len(files) == 1:
        raise UserError(f"{files[0]} is a file and the other is not: give two methods, or two files of records")
    if files:
        if parsed.chosen:
            raise UserError(
                f"{parsed.chosen[0]} chooses among the runs of methods; files of records are chosen already"
            )
        lines = _of_files(Path(parsed.a), Path(parsed.b))
    else:
        lines = _of_methods(parsed.results or default_folder(), parsed.a, parsed.b, parsed.chosen)
    print("\n".join(lines))
    return 0


def _drawn(record: Record, what: str) -> str:
    """How many training images, or how many of each class, were drawn by a seeded rule."""
    return str((record["data"].get("drawn") or {}).get(what) or "all")


def _of_files(*paths: Path) -> list[str]:
    records = [read_usable(path, anywhere=True) for path in paths]
    for name, values in (
        ("the dataset", [record["dataset"] for record in records]),
        ("the split", [record["metrics"]["split"] for record in records]),
        ("the images", [record["data"].get("manifest", "")[:12] for record in records]),
        ("the number of classes", [record["data"].get("classes") for record in records]),
    ):
        if values[0] != values[1]:
            raise UserError(
                f"cannot pair images: {name} of A is {values[0]}, of B {values[1]}; give two records of the same images"
            )
    names = [BUILT_IN.method(record["method"]) for record in records]
    if names[0] == names[1]:
        names = [f"{name} ({record['hash']})" for name, record in zip(names, records, strict=True)]
    a, b = (
        Side(name, [record["seed"]], [read_predictions(path, record)])
        for name, path, record in zip(names, paths, records, strict=True)
    )
    return answer(a, b, *_where(records), records[0]["metrics"]["split"])


def _where(records: list[Record]) -> tuple[str, str]:
    """The dataset, and the setting of two records, or how their settings differ."""
    comparisons = build_comparisons(records)
    dataset = comparisons[0].header(records[0]["dataset"])
    if len(comparisons) == 1:
        return dataset, comparisons[0].title
    first, second = (build_comparisons([record])[0].setting.as_columns() for record in records)
    differing = [f"{name} {value} and {second[name]}" for name, value in first.items() if value != second[name]]
    return dataset, f"settings differ: {', '.join(differing)}"


def _of_methods(root: Path, a: str, b: str, words: Sequence[str]) -> list[str]:
    found = read_records(root, "give another folder by --results DIR")
    comparisons = build_comparisons(_chosen(found.records, words), None, kept := Kept(root), Titles.of(root))
    comparison, dataset, rows = _one(comparisons, a, b)
    predicted = {one.row.label: one for one in kept.of_dataset(rows, dataset)}
    for damaged in kept.left_out.values():
        raise UserError(str(damaged))
    for row in rows:
        if row.label not in predicted:
            raise UserError(
                f"no predictions of {row.label} on {dataset} are here: its {len(row.seeds(dataset))} runs kept none, "
                "or their files are on another machine; copy these beside the records, or run with results.mode=force"
            )
    a_side, b_side = (Side(row.label, predicted[row.label].seeds, predicted[row.label].runs) for row in rows)
    return answer(a_side, b_side, comparison.header(dataset), comparison.title, comparison.setting.split)


def _chosen(records: list[Record], words: Sequence[str]) -> list[Record]:
    """The records that have each value of `words`."""
    for word in words:
        name, value = split_word(word, "dataset=eurosat")
        if name not in CHOICES:
            raise unknown("choice", name, CHOICES)
        kept = [record for record in records if CHOICES[name](record) == value]
        if not kept:
            raise unknown(name, value, {CHOICES[name](record) for record in records}, "these have records here")
        records = kept
    return records


def _one(comparisons: Sequence[Comparison], a: str, b: str) -> tuple[Comparison, str, list[Row]]:
    """The setting and the dataset of which both A and B have runs, and their rows."""
    every = [(one, dataset) for one in comparisons for dataset in one.datasets]
    for name in (a, b):
        if not any(_rows(one, dataset, name) for one, dataset in every):
            raise unknown("method", name, {row.code for one in comparisons for row in one.rows}, "these have records")
    both = [(one, dataset) for one, dataset in every if _rows(one, dataset, a) and _rows(one, dataset, b)]
    if len(both) != 1:
        problem = f"{a} and {b} have {len(both) or 'no'} datasets and settings in common"
        listed = "; ".join(f"{dataset} in {one.title}" for one, dataset in both[:8])
        more = f" and {len(both) - 8} more" * (len(both) > 8)
        what = f": {listed}{more}; {_how_to_choose(both)}" if both else "; run both on the same one"
        raise UserError(problem + what)
    comparison, dataset = both[0]
    rows = []
    for name in (a, b):
        some = _rows(comparison, dataset, name)
        if len(some) > 1:
            raise UserError(f"{name} has several rows: give one of {', '.join(repr(row.code) for row in some)}")
        rows += some
    if rows[0] is rows[1]:
        raise UserError(f"A and B are the same row, {rows[0].code!r}: give two")
    return comparison, dataset, rows


def _how_to_choose(both: Sequence[tuple[Comparison, str]]) -> str:
    """The choices that tell some pairs of setting and dataset apart, with an example."""
    records = [next(record for record in one.records if record["dataset"] == dataset) for one, dataset in both]
    values = {name: [value(record) for record in records] for name, value in CHOICES.items()}
    differing = [name for name, some in values.items() if len(set(some)) > 1]
    if not differing:
        return "they differ in what no choice names: give two files of records"
    return f"choose one by {', '.join(differing)}, as in {differing[0]}={values[differing[0]][0]}"


def _rows(comparison: Comparison, dataset: str, name: str) -> list[Row]:
    """The rows of that label, or of that method, that have runs on a dataset."""
    some = [row for row in comparison.rows if dataset in row.cells]
    return [row for row in some if name in (row.code, row.label)] or [row for row in some if row.method == name]
