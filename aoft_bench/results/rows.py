"""Rows of a table: which records of a method share a row, and what a row is called."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aoft_bench.data.tasks import find, in_order
from aoft_bench.records.schema import Record
from aoft_bench.results.titles import Titles


@dataclass(frozen=True)
class Row:
    """A method variant. cells: dataset -> top-1 of its seeds, in %; trained, head: parameters, mean over datasets.

    label: what tables call it; code: what CSV files and the command line do; method: name of the method's row in
    conf/method; records: those that the row is made of, in order of dataset and
    seed; best_epoch: dataset -> top-1 of the best test epoch of its seeds, where the protocol records it; broken: how
    it breaks the rules of the results page, where they were asked for.
    """

    label: str
    code: str
    method: str
    records: list[Record]
    cells: dict[str, list[float]]
    best_epoch: dict[str, list[float]]
    trained: float
    head: float
    broken: tuple[str, ...] = ()

    def seeds(self, dataset: str) -> list[int]:
        """The seeds of one cell, in the order of its values."""
        return [record["seed"] for record in self.records if record["dataset"] == dataset]

    @property
    def scores(self) -> dict[str, float]:
        """Dataset -> mean over its seeds."""
        return {name: statistics.fmean(values) for name, values in self.cells.items()}

    @property
    def is_aoft(self) -> bool:
        """Whether the registered method is AOFT, or AOFT in Adapter or VPT, whatever its settings are called."""
        return self.family.startswith("aoft")

    @property
    def family(self) -> str:
        """The registered method, whatever its settings are called; a tuner of peft is a family of its own."""
        options = self.records[0]["config"]["method"]
        return ":".join(str(options[key]) for key in ("name", "tuner") if key in options)


def build_rows(records: list[Record], titles: Titles) -> tuple[list[Row], list[str]]:
    """Rows of one setting by their parameters, and notes on records of the same run.

    Records with an "origin", which `tables beside=DIR` gives them, have rows of their own, marked by it.
    """
    by_method: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_method[record["method"], record.get("origin", "")].append(record)
    rows, notes = [], []
    for (method, origin), members in by_method.items():
        for variant, some in _variants(members):
            kept, doubles = _without_doubles(some)
            end = f"{variant}{f' [{origin}]' if origin else ''}"
            rows.append(_row(titles.method(method) + end, method + end, method, kept))
            notes += [f"{rows[-1].label}: {text}" for text in doubles]
    return sorted(_distinct(rows), key=lambda row: (row.trained, row.code)), sorted(notes)


def means(scores: Mapping[str, float], datasets: Sequence[str]) -> tuple[float | None, float | None]:
    """(flat mean over datasets, mean of the group means) of scores by dataset; None where a dataset is missing.

    They are different numbers: on VTAB-1k, with 7, 4 and 8 tasks a group, they differ by 2 to 5 points.
    """
    if not datasets or any(name not in scores for name in datasets):
        return None, None
    groups = [group_mean(scores, datasets, group) for group in dict.fromkeys(find(name).group for name in datasets)]
    flat = statistics.fmean(scores[name] for name in datasets)
    return flat, statistics.fmean(mean for mean in groups if mean is not None)


def group_mean(scores: Mapping[str, float], datasets: Sequence[str], group: str) -> float | None:
    """Mean over the datasets of one group; None where one of them is missing."""
    names = [name for name in datasets if find(name).group == group]
    if not names or any(name not in scores for name in names):
        return None
    return statistics.fmean(scores[name] for name in names)


def value_text(value: Any) -> str:
    """A value of a configuration as it stands in a label."""
    if isinstance(value, list):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _distinct(rows: list[Row]) -> list[Row]:
    """The same; labels that several rows would have are followed by what the command line calls the row."""
    counts = Counter(row.label for row in rows)
    return [replace(row, label=f"{row.label} ({row.code})") if counts[row.label] > 1 else row for row in rows]


def _row(label: str, code: str, method: str, records: list[Record]) -> Row:
    cells: dict[str, list[float]] = defaultdict(list)
    best: dict[str, list[float]] = defaultdict(list)
    for record in records:
        cells[record["dataset"]].append(record["metrics"]["top1"])
        if (best_epoch := record["metrics"].get("best_test_epoch_top1")) is not None:
            best[record["dataset"]].append(best_epoch)
    one_each = {record["dataset"]: record["parameters"] for record in records}.values()
    trained = statistics.fmean(counts["trained"] for counts in one_each)
    head = statistics.fmean(counts["head"] for counts in one_each)
    return Row(label, code, method, records, dict(cells), dict(best), trained, head)


def _without_doubles(records: list[Record]) -> tuple[list[Record], list[str]]:
    """The records in order of dataset and seed, each seed of a dataset once, and a note on each of the others.

    Two hashes can name one run: weights given as a file and by their name on the hub, a normalisation given as `half`
    and as `backbone`.
    """
    order = in_order(record["dataset"] for record in records)
    kept: dict[tuple[int, int], Record] = {}
    notes = []
    for record in sorted(records, key=lambda r: (order.index(r["dataset"]), r["seed"], r["hash"])):
        first = kept.setdefault((order.index(record["dataset"]), record["seed"]), record)
        if first is not record:
            notes.append(
                f"seed {record['seed']} of {record['dataset']} stands in two records that are the same run; "
                f"{first['hash']} is used, {record['hash']} is not"
            )
    return list(kept.values()), notes


def _variants(records: list[Record]) -> list[tuple[str, list[Record]]]:
    """Records of one method in groups that may share a row, with a label of what differs between the groups.

    Method options always separate rows. Recipes may differ from dataset to dataset (tuned per task) within a row;
    where one dataset has several, they separate rows too.
    """
    options: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        options[str(sorted(record["config"]["method"].items(), key=str))].append(record)
    groups: list[tuple[dict[str, Any], list[Record]]] = []
    for members in options.values():
        method = members[0]["config"]["method"]
        recipes: dict[str, set[str]] = defaultdict(set)
        for record in members:
            recipes[record["dataset"]].add(str(record["config"]["recipe"]))
        if all(len(found) == 1 for found in recipes.values()):
            groups.append((method, members))
            continue
        split: dict[str, list[Record]] = defaultdict(list)
        for record in members:
            split[str(record["config"]["recipe"])].append(record)
        groups += [({**method, **some[0]["config"]["recipe"]}, some) for some in split.values()]
    keys = {key for shown, _ in groups for key in shown}
    differing = sorted(k for k in keys if len({str(shown.get(k, "-")) for shown, _ in groups}) > 1)
    labelled = []
    for shown, members in groups:
        # the blocks that are left out are part of what a row is called; partial's number is what it is by itself
        named = [*differing, *({"blocks"} - set(differing) if isinstance(shown.get("blocks"), str | list) else ())]
        label = ", ".join(f"{key}={value_text(shown[key])}" for key in sorted(named) if key in shown)
        labelled.append((f" ({label})" if label else "", members))
    return sorted(labelled, key=lambda pair: pair[0])
