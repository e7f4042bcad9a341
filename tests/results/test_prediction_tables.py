"""The tables made from predictions: what stands in them, and what happens to files that cannot be used."""

import re
import statistics
from pathlib import Path
from typing import Any

import pytest
import record_cases
from conftest import Command
from prediction_cases import drawn, forge, lay_down, record_of

from aoft_bench.records.files import predictions_path
from aoft_bench.results.collect import collect
from aoft_bench.results.kept import Kept
from aoft_bench.results.prediction_tables import prediction_tables
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.table import Table
from aoft_bench.results.titles import BUILT_IN


def laid(root: Path, method: str, seed: int, skill: float = 2.0, **changes: Any) -> Path:
    made = drawn(10 * len(method) + seed, images=200, classes=8, skill=skill, logits=True)
    return lay_down(root, record_of(made, method, seed=seed, data__classes=8, **changes), made)


def tables(root: Path) -> tuple[dict[str, Table], Kept]:
    kept = Kept(root)
    (comparison,) = build_comparisons(collect(root).records, None, kept)
    return {table.title.split(":")[0]: table for table in prediction_tables(comparison)}, kept


def column(table: Table, name: str) -> dict[str, str]:
    """First entry -> entry of one column, as they are printed."""
    index = [column.name for column in table.columns].index(name)
    return {row[0].text: row[index].text for block in table.blocks for row in block.rows}


@pytest.fixture()
def two(tmp_path: Path) -> Path:
    """A folder with two seeds of AOFT and of LoRA, and one run without predictions."""
    for seed in (0, 1):
        laid(tmp_path, "aoft", seed, 4.0)
        laid(tmp_path, "lora", seed)
    made = drawn(images=200, classes=8)
    record_cases.write(tmp_path, record_of(made, "linear", data__classes=8))
    return tmp_path


def test_each_table_has_the_rows_that_have_predictions(two: Path, cli: Command) -> None:
    found, kept = tables(two)
    assert list(found) == ["Calibration", "Classes", "Seeds together", "AOFT against each, by dataset"]
    accuracy = {
        BUILT_IN.method(method): [100 * drawn(10 * len(method) + seed, 200, 8, skill).correct.mean() for seed in (0, 1)]
        for method, skill in (("aoft", 4.0), ("lora", 2.0))
    }
    (block,) = found["Calibration"].blocks
    assert block.heading == "Digits*"
    assert {row[0].text for row in block.rows} == set(accuracy)
    assert all(list(row[1].values) == pytest.approx(accuracy[row[0].text]) for row in block.rows)
    assert found["Calibration"].notes == ["1 of 5 records have no predictions here."]
    pairs = found["AOFT against each, by dataset"]
    (difference,) = column(pairs, "difference").values()
    assert float(difference) == pytest.approx(sum(accuracy["LoRA+AOFT†"]) / 2 - sum(accuracy["LoRA"]) / 2, abs=0.06)
    (interval,) = column(pairs, "95 %, images and seeds").values()
    (line,) = [
        line for line in cli("compare", "aoft", "lora", "--results", str(two)).out.splitlines() if "Top-1" in line
    ]
    low, high = map(float, re.findall(r"interval ([-+.0-9]+) to ([-+.0-9]+)", line)[0])
    assert interval == f"{low:.1f} to {high:.1f}"
    assert column(pairs, "McNemar p")["LoRA+AOFT†"] == column(pairs, "Holm p")["LoRA+AOFT†"]  # one comparison
    assert kept.left_out == {}


def test_what_cannot_be_used_is_named_and_the_others_count(two: Path, cli: Command) -> None:
    path = laid(two, "ssf", 0)
    predictions_path(path).write_bytes(b"PK")
    other = laid(two, "ssf", 1, data__manifest="cd" * 32)  # of other images, says the record: as many right
    made = drawn(32, images=200, classes=8, logits=True)
    assert made.label[0] == 0
    made.label[:] = (made.label + 1) % 8
    made.predicted[:] = (made.predicted + 1) % 8
    made.logits[:] = made.logits[:, [7, *range(7)]]  # type: ignore[index]
    moved = record_of(made, "norm", seed=1, data__classes=8)
    lay_down(two, moved, made)
    result = cli("tables", str(two))
    assert result.code == 0, result.err
    lines = result.err.splitlines()
    assert sum("left out" in line for line in lines) == 2 and all(line.isprintable() for line in lines)
    assert any("is not what the run wrote" in line for line in lines)
    assert any("has other labels than other predictions of the same images" in line for line in lines)
    text = (two / "tables" / "predictions.md").read_text()
    assert "| LoRA+AOFT† |" in text and "| LayerNorm |" not in text and text.count("Left out: ") == 2
    assert other.exists() and "SSF" in (two / "tables" / "accuracy.md").read_text()


def test_without_predictions_there_is_no_table_and_an_old_file_goes(two: Path, cli: Command) -> None:
    assert cli("tables", str(two)).code == 0
    assert (two / "tables" / "predictions_wide.csv").exists()
    for path in two.rglob("*.npz"):
        path.unlink()
    assert tables(two)[0] == {}
    assert cli("tables", str(two)).code == 0
    assert not list((two / "tables").glob("predictions*"))


def test_a_record_edited_to_other_classes_breaks_nothing(two: Path) -> None:
    made = drawn(3, images=200, classes=4)
    record = record_of(made, "ssf", data__classes=4)
    path = lay_down(two, record, made)
    found, kept = tables(two)
    assert len(kept.left_out) == 1 and len(found) == 4
    forge(path, record, b"")


def test_a_method_is_told_apart_over_datasets(tmp_path: Path) -> None:
    datasets = {"digits": 4.0, "shapes_count": 4.0, "shapes_location": 0.0}  # skill of aoft; lora has 2.0
    accuracy: dict[tuple[str, str], list[float]] = {}
    for dataset, skill in datasets.items():
        for method, skilled in (("aoft", skill), ("lora", 2.0)):
            for seed in (0, 1, 2):
                made = drawn(100 * len(method) + 10 * len(dataset) + seed, images=400, classes=8, skill=skilled)
                lay_down(tmp_path, record_of(made, method, dataset, seed, data__classes=8), made)
                accuracy.setdefault((dataset, method), []).append(100 * float(made.correct.mean()))
    found, _ = tables(tmp_path)
    (block,) = found["AOFT against each, over datasets"].blocks
    (row,) = block.rows
    entries = dict(zip((c.name for c in found["AOFT against each, over datasets"].columns), row, strict=True))
    mean = {name: statistics.fmean(values) for name, values in accuracy.items()}
    differences = [mean[dataset, "aoft"] - mean[dataset, "lora"] for dataset in datasets]
    assert entries["difference"].number == pytest.approx(statistics.fmean(differences))
    assert [entries[name].number for name in ("datasets", "AOFT better", "AOFT worse", "not told apart")] == [
        3,
        2,
        1,
        0,
    ]
    low, high = map(float, entries["95 %, images and seeds"].text.split(" to "))
    assert low < statistics.fmean(differences) < high
