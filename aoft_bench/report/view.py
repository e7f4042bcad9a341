"""What the page shows of each setting: its table, and what its rows are found and filtered by."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aoft_bench.data.tasks import find
from aoft_bench.records.schema import Record
from aoft_bench.results.accuracy_table import APART, accuracy_table
from aoft_bench.results.findings import finding, main_of
from aoft_bench.results.rows import Row
from aoft_bench.results.rules import Proofs
from aoft_bench.results.setting import triple
from aoft_bench.results.settings import SUITES, Comparison, build_comparisons
from aoft_bench.results.table import Block, Column, Entry, Table, spans
from aoft_bench.results.titles import BUILT_IN, Titles

# what a number depends on beside the method: the filter of the page, in this order
FACETS: dict[str, Callable[[Record, Titles], str]] = {
    "protocol": lambda r, _: r["protocol"]["name"],
    "suite": lambda r, _: SUITES[find(r["dataset"]).suite],
    "backbone": lambda r, titles: titles.backbone(r["backbone"]),
    "image size": lambda r, _: f"{r['config']['backbone']['img_size']} px",
    "epochs": lambda r, _: str(r["config"]["recipe"]["epochs"]),
    "normalisation": lambda r, _: f"mean {triple(r['data']['mean'])}, std {triple(r['data']['std'])}",
    "data": lambda r, _: "official" if r["data"]["official"] else "not official",
    "precision": lambda r, _: r["precision"],
}
WIDE = 8  # datasets; with more, their names stand upright


@dataclass(frozen=True)
class Line:
    """A row of the table. facets: name -> values of its records; search: the text that the filter looks into."""

    entries: list[Entry]
    facets: dict[str, list[str]]
    search: str


@dataclass(frozen=True)
class ShownSetting:
    """One setting, or those of its rows that stand apart beside others that do not. anchor: its id; setting: a digest
    of the setting; apart: why the rows stand apart, or empty; columns: of the accuracy table, scores
    first; groups: (name, number of columns) above them, empty where there is one group of tasks; finding: what the main
    setting shows, empty for the others."""

    anchor: str
    setting: str
    apart: str
    title: str
    caption: str
    finding: str
    groups: list[tuple[str, int]]
    columns: list[Column[Any]]
    lines: list[Line]
    notes: list[str]
    upright: bool


def sections(records: list[Record], proofs: Proofs | None = None, titles: Titles = BUILT_IN) -> list[ShownSetting]:
    """All settings of `records`, the main one first; rows that break a rule of the results page in a table of their
    own."""
    comparisons = build_comparisons(records, proofs, titles=titles)
    main = main_of(comparisons)
    others = [part for one in comparisons if one is not main for part in _parts(one)]
    return [*_parts(main, finding(main)), *others]


def chips(shown: list[ShownSetting]) -> dict[str, list[tuple[str, int]]]:
    """Facet -> (value, number of rows that have it), in natural order of the values; facets with one value are left
    out, for there is nothing to choose."""
    lines = [line for section in shown for line in section.lines]
    found = {name: Counter(value for line in lines for value in line.facets[name]) for name in FACETS}
    return {
        name: sorted(counts.items(), key=lambda pair: _natural(pair[0]))
        for name, counts in found.items()
        if len(counts) > 1
    }


def _parts(comparison: Comparison, sentence: str = "") -> list[ShownSetting]:
    """The table of the rows that stand, and that of those that stand apart, where there are any."""
    table = accuracy_table(comparison)
    both = [rows for rows in (comparison.standing, comparison.apart) if rows]
    return [
        _section(comparison, table, rows, block, "" if i else sentence)
        # blocks after these are not of rows
        for i, (rows, block) in enumerate(zip(both, table.blocks, strict=False))
    ]


def _section(comparison: Comparison, table: Table, rows: Sequence[Row], block: Block, sentence: str) -> ShownSetting:
    first, *others = range(len(table.columns))
    order = [first, *sorted(others, key=lambda i: not table.columns[i].ranked)]
    columns = [table.columns[i] for i in order]
    lines = [
        Line([entries[i] for i in order], _facets(row.records, comparison.titles), _search(comparison, row))
        for row, entries in zip(rows, block.rows, strict=True)
    ]
    groups = spans(columns)
    setting = hashlib.sha256((repr(comparison.setting) + comparison.setting.subset).encode()).hexdigest()[:8]
    apart = [note for note in table.notes if note.startswith(APART)]
    beside = block.heading and len(rows) < len(comparison.rows)
    return ShownSetting(
        anchor=f"setting-{setting}{'-apart' if beside else ''}",
        setting=setting,
        apart=" ".join(apart) if block.heading else "",
        title=f"{table.title}, rows apart" if beside else table.title,
        caption=table.caption,
        finding=sentence,
        groups=groups if len({name for name, _ in groups if name}) > 1 else [],
        columns=columns,
        lines=lines,
        notes=[note for note in table.notes if note not in apart],
        upright=len(comparison.datasets) > WIDE,
    )


def _search(comparison: Comparison, row: Row) -> str:
    words = dict.fromkeys(word for record in row.records for word in [*_words(record), record["hash"]])
    values = [value for some in _facets(row.records, comparison.titles).values() for value in some]
    setting = comparison.setting
    names = [row.label, row.code, row.method, comparison.title, setting.suite, setting.backbone]
    return " ".join([*names, *row.cells, *values, *words])


def _facets(records: list[Record], titles: Titles) -> dict[str, list[str]]:
    return {name: sorted({value_of(r, titles) for r in records}, key=_natural) for name, value_of in FACETS.items()}


def _words(record: Record) -> list[str]:
    """name=value of the method's options and of the recipe, as the command line writes them."""
    config = record["config"]
    options = [(k, v) for k, v in config["method"].items() if k not in ("name", "label")]
    return [
        f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
        for name, value in [*options, *config["recipe"].items()]
    ]


def _natural(text: str) -> tuple[float, str]:
    """Sort key: a leading number by its value, texts after it."""
    head = text.split(" ")[0]
    return (float(head) if head.isdecimal() else float("inf"), text)
