"""The benchmarks run from end to end on a tiny network and print tables; what they measure is not judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import aoft_bench
from benchmarks import cells, steps
from benchmarks.machine import Workload
from benchmarks.networks import FLOOR, MAIN, below, others, vit
from benchmarks.peak import operations
from benchmarks.report import markdown, table
from benchmarks.timing import Times

TINY = ["--network", "vit_nano", "--size", "16", "--batch", "2", "--rounds", "1", "--threads", "1", "--device", "cpu"]


@pytest.mark.slow
def test_sections_are_measured_and_kept(tmp_path: Path) -> None:
    sections = ["steps", "scoring", "data path", "several cells"]
    words = [word for section in sections for word in ("--only", section)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *TINY, *words, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert list(found["sections"]) == [*sections, "share of the matrix peak"]
    steps = {row["case"]: row for row in found["sections"]["steps"]}
    assert list(steps) == [case.name for case in (FLOOR, *MAIN)]
    assert steps["full"]["trained"] > steps["aoft† q v fc1 fc2"]["trained"] > 0
    assert all(row["ratio"] > 0 and row["peak_bytes"] > 1e6 for row in steps.values())
    assert done.stdout == markdown(found) == (tmp_path / "benchmark.md").read_text()
    assert "| floor | 1" in done.stdout or "| floor | 0" in done.stdout


@pytest.mark.slow
def test_steps_below_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "peak_of", lambda *_: 10**6)  # which starts a process for each
    found = steps.frozen(Workload(torch.device("cpu"), "fp32", "vit_nano", 16, 2, 1, 1, 1))
    assert [row["case"] for row in found["steps"]] == ["floor", *(case.name for case in below())]
    assert all(row["ratio"] > 0 for row in found["steps"])
    (probe,) = found["linear probe"]
    assert probe["forward_passes"] > probe["filling"] > 0
    assert "| 100 epochs |" in table(found["linear probe"])


def test_every_method_is_a_case() -> None:
    named = {case.name.split(" ")[0].rstrip("†") for case in (*MAIN, *others())}
    assert named == set(aoft_bench.methods.names())


def test_growth_is_per_image_and_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def cost(words: list[str], root: Path) -> dict[str, float]:
        asked.append(words)
        return {"train_seconds": 4.0, "peak_memory_bytes": 5e8}

    monkeypatch.setattr(cells, "_cost", cost)
    rows = cells.growth(Workload(torch.device("cpu"), "fp32", "vit_base_patch16_224", 224, 8, 1, 1, 1), epochs=2)
    assert [row["case"] for row in rows][::3] == ["800 images x 2 epochs", "1,000 images x 2 epochs"]
    assert [row["milliseconds_an_image"] for row in rows] == pytest.approx([2.5, 1.25, 0.625, 2.0, 1.0, 0.5])
    assert {"backbone=vit_nano", "protocol=clean", "recipe.epochs=8"} <= set(asked[-1])
    assert len({word for words in asked for word in words if word.startswith("results.root=")}) == 6


def test_the_ratio_is_taken_within_rounds() -> None:
    """A machine that becomes twice as slow in the middle changes both."""
    times = Times([1.1, 1.1, 2.2, 2.2], [1.0, 1.0, 2.0, 2.0])
    assert times.ratio == pytest.approx(1.1) and times.spread == pytest.approx(0.0)
    assert Times([5.0, 1.1], [1.0, 9.0]).fastest == pytest.approx(1.1)


def test_operations_of_a_vit_are_those_of_its_products() -> None:
    depth, width, tokens, classes = 12, 192, 197, 100
    block = tokens * (4 * width**2 + 2 * width * 4 * width) + 2 * tokens**2 * width
    expected = 2 * (depth * block + 196 * 768 * width + width * classes)
    assert operations("vit_tiny_patch16_224", 224) == pytest.approx(expected, rel=1e-3)


def test_weights_are_random_and_the_head_is_not_zero() -> None:
    model = vit("vit_nano", 16, torch.device("cpu"))
    assert model.get_classifier().weight.std() > 0
    assert all(p.std() > 0 for n, p in model.named_parameters() if p.ndim > 1)


def test_a_table_has_a_cell_for_every_column() -> None:
    text = table([{"case": "a|b", "milliseconds": 1.0}, {"case": "c", "share": 0.5}])
    assert text.splitlines()[-2:] == ["| a|b | 1.00 | - |", "| c | - | 50.0 % |"]


def test_a_setting_travels_as_words() -> None:
    setting = Workload(torch.device("cpu"), "fp32", "vit_nano", 16, 2, 1, 1, 1)
    assert setting.as_words()[:4] == ["--precision", "fp32", "--network", "vit_nano"]
