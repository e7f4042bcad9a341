"""The rules for a row to stand on the results page: what breaks each, and where rows that do stand apart."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import report_records
from conftest import Command
from record_cases import markdown_rows, record, write

from aoft_bench.data.tasks import TASKS
from aoft_bench.records.identity import record_hash
from aoft_bench.report import view
from aoft_bench.report.page import render
from aoft_bench.results.accuracy_table import accuracy_table
from aoft_bench.results.rules import Proofs, read_proofs
from aoft_bench.results.settings import Comparison, build_comparisons
from aoft_bench.results.statistics_table import statistics_tables
from aoft_bench.results.verified import NAME, Verification, key_of, read_verified, tolerance_of, write_verified
from aoft_bench.results.writers.markdown import to_markdown

FGVC = [name for name, task in TASKS.items() if task.suite == "fgvc"]  # five tasks are enough here


def hashed(made: dict[str, Any]) -> dict[str, Any]:
    return made | {"hash": record_hash(made)}


def row(method: str = "lora", seeds: int = 3, tasks: Sequence[str] = FGVC, **changes: Any) -> list[dict[str, Any]]:
    """The records of a row, 60 % with seed 0 and 2 points more with each other."""
    return [hashed(record(60.0 + 2 * s, name, method, s, **changes)) for name in tasks for s in range(seeds)]


def verification(made: dict[str, Any], change: int = 0, **changes: Any) -> Verification:
    """A cell that came out with `change` right images more."""
    correct, total = made["metrics"]["correct"], made["metrics"]["total"]
    values = {"record": key_of(made), "correct": correct, "total": total, "reproduced": correct + change}
    more = {"tolerance": 1.5, "code": "abcd1234", "hardware": "a CPU", "torch": "2.9.0", "finished": "2026-01-01"}
    return Verification(**values | more | changes)


def proofs(verified: Sequence[Verification] = (), tuning: Sequence[dict[str, Any]] = ()) -> Proofs:
    return Proofs({cell.record: [cell] for cell in verified}, tuning)


def broken(records: list[dict[str, Any]], given: Proofs) -> dict[str, tuple[str, ...]]:
    """Label of a row -> how it breaks the rules."""
    return {row.label: row.broken for one in build_comparisons(records, given) for row in one.rows}


def test_a_row_that_keeps_all_rules_stands() -> None:
    records = row()
    assert broken(records, proofs(map(verification, records[:3]))) == {"LoRA": ()}


def test_without_proofs_no_row_is_held_to_the_rules() -> None:
    (comparison,) = build_comparisons(row(seeds=1))
    assert not comparison.apart and comparison.ranked() is comparison


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (row(tasks=FGVC[:4]), "4 of the 5 tasks of its suite"),
        (row()[:-1], "2 seeds in a cell, fewer than 3"),
        (row(data__official=False), "not proven to be the official images and splits"),
        (row(protocol__name="literature"), "protocol literature, not clean"),
        (row()[:-3] + row(tasks=FGVC[-1:], config__recipe__lr=5e-3), "lr set by task, and not the best of"),
    ],
)
def test_each_rule_has_its_reason(records: list[dict[str, Any]], reason: str) -> None:
    ((found,),) = broken(records, proofs(map(verification, records[:3]))).values()
    assert found.startswith(reason)


def tuned(lr: float, top1: float, name: str, **changes: Any) -> dict[str, Any]:
    recipe = {"config__recipe__lr": lr, "config__recipe__epochs": 10, "config__protocol__name": "tune"}
    return record(top1, name, protocol__name="tune", metrics__split="val200", **recipe, **changes)


@pytest.mark.parametrize(
    ("scores", "stands"),
    [
        ({1e-3: 50.0, 5e-3: 60.0}, True),
        ({1e-3: 60.0, 5e-3: 60.0}, True),
        ({1e-3: 61.0, 5e-3: 60.0}, False),  # another rate was better
        ({1e-3: 50.0}, False),  # this rate was not tried
    ],
)
def test_what_differs_between_tasks_must_be_the_best_on_val200(scores: dict[float, float], stands: bool) -> None:
    records = row()[:-3] + row(tasks=FGVC[-1:], config__recipe__lr=5e-3)
    tuning = [tuned(1e-3, 50.0, name) for name in FGVC[:-1]]
    tuning += [tuned(lr, top1, FGVC[-1]) for lr, top1 in scores.items()]
    given = proofs(map(verification, records[:3]), tuning)
    assert (broken(records, given) == {"LoRA": ()}) == stands


def test_a_cell_that_comes_out_otherwise_sets_its_row_apart() -> None:
    records = row()
    cells = [*map(verification, records[:3]), verification(records[4], -400)]
    (found,) = broken(records, proofs(cells))["LoRA"]
    assert found == f"seed 1 of {records[4]['dataset']} came out as 58.00 when run again"


def test_a_verification_counts_for_the_number_that_it_was_of() -> None:
    records = row()
    cells = [verification(made, correct=1, reproduced=1) for made in records[:3]]
    assert broken(records, proofs(cells)) == {"LoRA": ("0 of at least 3 cells verified",)}


@pytest.mark.parametrize(
    ("change", "tolerance", "outcome"),
    [(0, None, "equal"), (150, 1.5, "within the spread"), (-151, 1.5, "differs"), (1, None, "differs")],
)
def test_the_outcome_of_a_verification(change: int, tolerance: float | None, outcome: str) -> None:
    assert verification(row()[0], change, tolerance=tolerance).outcome == outcome


def test_the_tolerance_is_from_the_other_cells_of_the_row() -> None:
    """Their sample variance within each task is 4 for 60, 62, 64, and 2 for 62, 64, which the cell's task has left."""
    records = row(tasks=FGVC[:2])
    others = [*records, *row("ssf"), *row(tasks=FGVC[:1], config__method__rank=2)]
    assert tolerance_of(records[0], others) == pytest.approx(2.8 * ((2 * 4 + 1 * 2) / 3) ** 0.5)
    assert tolerance_of(records[0], records[:2]) is None
    edited = [hashed(record(99.0, FGVC[0])), *records[1:]]
    assert tolerance_of(edited[0], edited) == tolerance_of(records[0], records)


def both() -> tuple[list[dict[str, Any]], Proofs]:
    """Two rows that stand, one of two seeds, and one of one seed."""
    records = [*row(), *row("ssf"), *row("aoft", seeds=2), *row("linear", seeds=1)]
    return records, proofs([verification(made) for made in records if made["method"] in ("lora", "ssf", "aoft")])


def comparison() -> Comparison:
    (found,) = build_comparisons(*both())
    return found


def test_rows_apart_stand_in_a_block_of_their_own_with_their_reasons() -> None:
    table = accuracy_table(comparison())
    assert [[entries[0].text for entries in block.rows] for block in table.blocks] == [
        ["LoRA", "SSF"],
        ["LoRA+AOFT†", "Linear"],
    ]
    standing, apart = table.blocks
    assert (standing.heading, apart.heading) == ("", "apart")
    assert [entries[0].note for entries in apart.rows] == ["1", "2,3"]
    assert table.notes[-1] == (
        "Apart by the rules of docs/results.md: [1] 2 seeds in a cell, fewer than 3; [2] 1 seed in a cell, fewer than "
        "3; [3] 0 of at least 3 cells verified."
    )
    assert {entries[3].mark for entries in standing.rows} == {"best"}  # equal to each other, not held against aoft's
    assert [line[0] for line in markdown_rows(to_markdown([table]))] == [
        *("method", "LoRA", "SSF", "*apart*", "LoRA+AOFT† [1]", "Linear [2,3]"),
    ]


def test_a_rule_that_all_rows_apart_break_is_in_the_heading() -> None:
    (found,) = build_comparisons([*row(), *row("ssf", seeds=1)], proofs())
    (block,) = accuracy_table(found).blocks
    assert block.heading == "apart [1]" and [entries[0].note for entries in block.rows] == ["", "2"]


def test_statistics_and_figures_are_of_the_rows_that_stand() -> None:
    tables = statistics_tables(comparison())
    assert [entries[0].text for table in tables for block in table.blocks for entries in block.rows] == ["LoRA", "SSF"]
    assert tables[0].notes[-1] == "Not in it, since they stand apart (docs/results.md): LoRA+AOFT†, Linear."
    (nothing_stands,) = build_comparisons(row(seeds=2) + row("ssf", seeds=2), proofs())
    assert nothing_stands.ranked() is nothing_stands


def test_on_the_page_rows_apart_have_a_table_of_their_own() -> None:
    records, given = both()
    whole = [report_records.make(made["method"], made["dataset"], made["seed"]) for made in records]
    given = proofs([verification(made) for made in whole if made["method"] in ("lora", "ssf", "aoft")])
    standing, apart = view.sections(whole, given)
    assert [line.entries[0].text for line in standing.lines] == ["LoRA", "SSF"] and standing.apart == ""
    assert apart.title == f"{standing.title}, rows apart" and apart.anchor == f"{standing.anchor}-apart"
    text = render(whole, [], [], [], given)
    assert "[1] 2 seeds in a cell, fewer than 3" in text and "<sup>2,3</sup>" in text and "4 rows" in text


def test_the_proofs_of_a_folder(tmp_path: Path) -> None:
    records = row()
    cells = [verification(made) for made in records]
    write_verified(tmp_path, [*cells, *cells])
    write(tmp_path / "tuning", tuned(1e-3, 50.0, "dtd"))
    write(tmp_path / "tuning", record(50.0, "dtd"))
    found = read_proofs(tmp_path, [*records, tuned(1e-3, 51.0, "cub")])
    assert {key: list(some) for key, some in found.verified.items()} == {cell.record: [cell] for cell in cells}
    assert [made["metrics"]["top1"] for made in found.tuning] == [51.0, 50.0] and not found.left_out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "no list of verified cells"),
        ('{"schema": 2, "cells": []}', "no list of verified cells"),
        ('{"schema": 1, "cells": [{"record": 1}]}', "record: Input should be a valid string"),
        ('{"schema": 1, "cells"', "is not a whole record"),
        ('{"schema": 1, "cells": [{"record": "a\\u001b"}]}', "is not one line of text"),
    ],
)
def test_a_damaged_file_of_verifications_is_named(text: str, reason: str, tmp_path: Path, cli: Command) -> None:
    write(tmp_path / "results", record(60.0))
    (tmp_path / "results" / NAME).write_text(text)
    cells, (left,) = read_verified(tmp_path / "results")
    assert not cells and reason in left.reason
    done = cli("tables")
    assert done.code == 0 and f"left out results/{NAME}: " in done.err and done.err.count("\n") == 1
    assert f"Left out: {NAME}: " in (tmp_path / "results/tables/accuracy.md").read_text()


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    cells = [verification(made, 1, tolerance=None, torch=None) for made in row()[:2]]
    write_verified(tmp_path, cells[::-1])
    assert read_verified(tmp_path) == (sorted(cells, key=lambda cell: cell.record), [])
    assert set(json.loads((tmp_path / NAME).read_text())) == {"schema", "cells"}
