"""The table of few-shot results: a column for each dataset and number of images of a class, as studies print them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from aoft_bench.data.tasks import in_order
from aoft_bench.results.image_sets import SHOTS, count_of
from aoft_bench.results.rows import Row
from aoft_bench.results.setting import Setting
from aoft_bench.results.settings import Comparison
from aoft_bench.results.table import MISSING, Column, Entry, Table, count_entry, make_block, mean_entry, number_entry


@dataclass(frozen=True)
class _Method:
    """The rows of one label, by the number of images of a class."""

    label: str
    rows: Mapping[int, Row]


def fewshot_tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """A table for each setting that was run with several numbers of images of a class, or with one."""
    settings: dict[Setting, dict[int, Comparison]] = defaultdict(dict)
    for one in comparisons:
        if one.setting.subset.endswith(SHOTS) and one.setting.suite != "domainshift":  # that has a table of its own
            settings[replace(one.setting, subset="")][count_of(one.setting.subset)] = one
    return [_table(dict(sorted(some.items()))) for some in settings.values()]


def _table(by_shots: Mapping[int, Comparison]) -> Table:
    first = next(iter(by_shots.values()))
    methods: dict[str, dict[int, Row]] = defaultdict(dict)
    for shots, one in by_shots.items():
        for row in one.rows:
            methods[row.label][shots] = row
    rows = [_Method(label, some) for label, some in methods.items()]
    rows.sort(key=lambda method: (next(iter(method.rows.values())).trained, method.label))
    datasets = in_order(name for one in by_shots.values() for row in one.rows for name in row.cells)
    columns: list[Column[_Method]] = [
        Column("method", lambda method: Entry(method.label), text=True),
        Column("trained", lambda method: count_entry(next(iter(method.rows.values())).trained)),
    ]
    for name in datasets:
        columns += [
            Column(
                f"{name} {shots}{SHOTS}",
                partial(_score, name, shots),
                first.titles.dataset(name),
                ranked=True,
                rotated=True,
                title=f"{first.titles.dataset(name)} {shots}{SHOTS}",
            )
            for shots in by_shots
        ]
    if len(datasets) > 1:
        columns += [
            Column(f"mean {shots}{SHOTS}", partial(_mean, datasets, shots), "mean", ranked=True, rotated=True)
            for shots in by_shots
        ]
    notes = list(dict.fromkeys(note for one in by_shots.values() for note in one.notes))
    shown = f"{', '.join(map(str, by_shots))} images of each class"
    title = first.title.replace(f", {first.setting.subset}", "", 1)
    shared = replace(first.setting, subset="").as_columns()
    blocks = [make_block(columns, rows, ranked=True)]
    codes = {label: code for one in by_shots.values() for label, code in one.codes.items()}
    title, caption = f"Few-shot, {title}", f"{shown}; {first.caption}"
    return Table(title, caption, columns, blocks, notes, shared, grouped=True, codes=codes)


def _score(name: str, shots: int, method: _Method) -> Entry:
    row = method.rows.get(shots)
    if row is None or name not in row.cells:
        return MISSING
    records = tuple(record for record in row.records if record["dataset"] == name)
    return mean_entry(row.cells[name], row.seeds(name), records=records)


def _mean(datasets: Sequence[str], shots: int, method: _Method) -> Entry:
    """The mean over the datasets; missing where one of them is."""
    scores = method.rows[shots].scores if shots in method.rows else {}
    if any(name not in scores for name in datasets):
        return MISSING
    return number_entry(sum(scores[name] for name in datasets) / len(datasets))
