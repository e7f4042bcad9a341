"""Whatever stands in a results folder, each file is used or left out by name, and all others still count."""

import contextlib
import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import report_records
import tuning_records

from aoft_bench.figures.series import method_styles, row_styles
from aoft_bench.figures.values import NothingToDrawError
from aoft_bench.figures.write import FIGURES
from aoft_bench.records.files import read_record, record_path
from aoft_bench.records.identity import record_hash
from aoft_bench.report.page import render
from aoft_bench.results.collect import Collected, collect
from aoft_bench.results.files import table_files
from aoft_bench.results.settings import build_comparisons
from aoft_bench.tuning.choice import choose
from aoft_bench.tuning.evidence import read_evidence
from aoft_bench.utils.errors import UserError

NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**400, 5e-324, 1e308, math.nan),
    *("", "²", "a\nb\x1b[31m|$\\", "../x", "\ud800", "x" * 3000),
    *([], [[1]], {}, {"²": [math.inf]}),
)
MORE = {
    "protocol": {"name": "literature", "train": "train800val200", "score": "test", "epoch": "last"},
    "metrics": {"split": "test", "top1": 60.0, "correct": 6000, "total": 10_000, "best_test_epoch_top1": 65.0},
    "curves": {"train_loss": [2.0, 1.0, 0.5], "test_top1": [65.0, 61.0, 60.0]},
    "cost": {
        **{"train_seconds": 60.5, "score_seconds": 6.5, "train_images_per_second": 320.0},
        **{"score_images_per_second": 800.0, "peak_memory_bytes": 2**30, "trained_file_bytes": 1_500_000},
    },
    "data__sizes": {"train800": 800, "val200": 200, "test": 10_000},
    "data__source_note": "TFDS cifar100/3.0.2",
    "hardware__processes": 2,
    "code": "0123456789abcdef",
    "predictions_sha256": "ab" * 32,
    "config__recipe__epochs": 3,
    "config__data__source": "auto",
    "config__method__targets": ["q", "v"],
}
TUNE = {"metrics": {"split": "val200", "top1": 80.0, "correct": 160, "total": 200}}


def places(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every section and value of a record."""
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from places(value, (*above, name))


def hostile(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The record with each nasty value in each place, each with a seed of its own so that all stand in one table."""
    for number, (place, value) in enumerate((place, value) for place in places(made) for value in NASTY):
        changed = copy.deepcopy(made)
        changed["seed"] = changed["config"]["seed"] = number
        node = changed
        for name in place[:-1]:
            node = node[name]
        node[place[-1]] = value
        for top, inside in (("method", "label"), ("dataset", "name"), ("backbone", "name")):
            if place == (top,) and isinstance(value, str):  # as one who edits a record would do
                changed["config"][top][inside] = value
        yield changed


def lay_down(root: Path, records: Iterator[dict[str, Any]]) -> int:
    """Write records with a hash that holds, in their place where they have one; returns their number."""
    number = 0
    for number, made in enumerate(records, 1):
        text = json.dumps(made)
        try:
            made["hash"] = record_hash(made)
            text = json.dumps(made)
            path = record_path(root, *(made[name] for name in ("backbone", "method", "dataset", "seed", "hash")))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, UserError):
            path = root / "records" / "anywhere" / f"{number}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return number


def good() -> dict[str, Any]:
    return report_records.make("lora", correct=6000, **copy.deepcopy(MORE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Collected]:
    """Hostile records, and four good ones of two methods."""
    root = tmp_path_factory.mktemp("hostile")
    number = lay_down(root, hostile(good()))
    others = [report_records.make(method, seed=10_000 + i) for method in ("aoft", "linear") for i in (0, 1)]
    report_records.write(root, others)
    found = collect(root)
    assert len(found.records) + len(found.left_out) == number + 4 and number > 1000
    assert {(made["method"], made["seed"]) for made in found.records} >= {(o["method"], o["seed"]) for o in others}
    return root, found


def test_each_is_used_or_left_out_in_a_line_and_every_reader_agrees(folder: tuple[Path, Collected]) -> None:
    root, found = folder
    for left in found.left_out:
        text = str(left.below(root))
        assert text.isprintable() and len(text) < 400, text
        if "no task of this version" not in text and "data.official is true, but" not in text:
            with pytest.raises(UserError) as refused:
                read_record(left.path)
            assert str(refused.value).isprintable()
    for path, made in zip(found.paths, found.records, strict=True):
        assert read_record(path) == made


def test_what_is_used_gives_tables_and_a_page(folder: tuple[Path, Collected]) -> None:
    root, found = folder
    comparisons = build_comparisons(found.records)
    for text in table_files(comparisons, [], [f"Left out: {left.below(root)}." for left in found.left_out]).values():
        assert text.encode("utf-8")
    left_out = [(left.name, left.reason) for left in found.left_out]
    assert render(found.records, left_out, [], []).encode("utf-8")


def test_what_is_used_gives_figures_and_can_be_named(folder: tuple[Path, Collected], capsys: Any) -> None:
    from aoft_bench.cli.run import Job, _report  # imports Hydra

    _, found = folder
    comparisons = build_comparisons(found.records)
    methods = method_styles(row.method for comparison in comparisons for row in comparison.rows)
    planned = 0
    for comparison in comparisons:
        for plans in FIGURES.values():
            with contextlib.suppress(NothingToDrawError):
                planned += len(plans(comparison, row_styles(comparison, methods), []))
    assert planned > 10
    for path, made in zip(found.paths, found.records, strict=True):
        outcome: Any = SimpleNamespace(kind="skipped", path=path, record=made)  # `Outcome` stands beside torch
        _report(outcome, Job([], "skipped"))
    assert capsys.readouterr().out.count("done before") == len(found.records)


def test_hostile_tuning_records_leave_a_choice(tmp_path: Path) -> None:
    made = tuning_records.record(3e-3, 160, **copy.deepcopy(TUNE))
    number = lay_down(tmp_path, hostile(made))
    found = read_evidence(tmp_path)
    assert len(found.runs) + len(found.left_out) + found.others == number and len(found.runs) > 100
    groups: dict[Any, list[Any]] = {}
    for run in found.runs:
        groups.setdefault((run.method, run.dataset, run.setting), []).append(run)
    for runs in groups.values():
        for run in runs:
            choose([run])
    assert all(text.isprintable() for text in found.left_out)
