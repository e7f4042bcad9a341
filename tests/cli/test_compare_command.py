"""`aoft-bench compare`: five lines that answer whether A is better than B, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from prediction_cases import drawn, lay_down, record_of

from aoft_bench.records.files import predictions_path


def laid(root: Path, method: str, seed: int, skill: float, dataset: str = "digits", **changes: Any) -> Path:
    made = drawn(10 * len(method) + seed, images=400, skill=skill)
    return lay_down(root, record_of(made, method, dataset, seed, **changes), made)


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    """results/ of the working folder: a strong method, two equal weaker ones, and one on another dataset too."""
    folder = tmp_path / "results"
    for seed in (0, 1, 2):
        laid(folder, "aoft", seed, 4.0)
        laid(folder, "lora", seed, 2.0)
        laid(folder, "linear", seed, 2.0)
    return folder


def test_five_lines_answer(root: Path, cli: Command) -> None:
    result = cli("compare", "aoft", "lora")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("LoRA+AOFT† against LoRA on Digits* (") and "400 test images" in lines[0]
    assert "(Student's t over images and seeds)" in lines[1]
    assert "McNemar's exact test, two-sided, for each of the 3 seeds that both have: p < 0.001" in lines[2]
    assert lines[3].startswith("Assumed: images are drawn independently") and lines[3].endswith("a normal distribution")
    assert (
        lines[4] == "Yes: LoRA+AOFT† is better than LoRA on Digits*, by the test and the interval at the level of 5 %"
    )
    assert (
        cli("compare", "lora", "aoft").out.splitlines()[4].startswith("No: LoRA+AOFT† is better than LoRA on Digits*")
    )
    assert cli("compare", "lora", "linear").out.splitlines()[4].startswith("Not shown: ")


def test_two_records_are_two_models(root: Path, cli: Command) -> None:
    a, b = (str(next(root.rglob(f"{name}/digits/seed1-*.json"))) for name in ("aoft", "lora"))
    lines = cli("compare", a, b).out.splitlines()
    assert "LoRA+AOFT† with seed 1, LoRA with seed 1" in lines[0]
    assert "(Student's t over images)" in lines[1]
    assert "McNemar's exact test, two-sided: p " in lines[2]
    assert lines[3].endswith("the answer is on these two models, not on the methods")
    assert "settings differ" not in lines[0]


def test_runs_without_a_common_seed_are_paired_in_order(root: Path, cli: Command) -> None:
    for seed in (7, 8):
        laid(root, "ssf", seed, 3.0)
    lines = cli("compare", "aoft", "ssf").out.splitlines()
    assert "the runs paired in order since no seed is the same (2): p" in lines[2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["aoft", "lorra"], "unknown method 'lorra' (did you mean 'lora'?)"),
        (["aoft", "aoft"], "A and B are the same row, 'aoft'"),
        (["aoft", "a.json"], "a.json is a file and the other is not"),
        (["a.json", "b.json"], "no record a.json"),
        (["a.json", "b.json", "dataset=digits"], "dataset=digits chooses among the runs of methods"),
        (["aoft", "lora", "datset=digits"], "unknown choice 'datset' (did you mean 'dataset'?)"),
        (["aoft", "lora", "dataset=eurosat"], "unknown dataset 'eurosat'; allowed: digits"),
        (["aoft", "lora", "digits"], "dataset=eurosat"),
        (["aoft"], "the following arguments are required: B"),
        (
            ["aoft", "lora", "--results", "nowhere"],
            "no records below nowhere/records (nowhere is no folder); give another folder",
        ),
    ],
)
def test_a_mistake_is_a_line(root: Path, cli: Command, words: list[str], expected: str) -> None:
    result = cli("compare", *words)
    assert result.code == 2 and result.out == "" and len(result.err.splitlines()) == 1
    assert expected in result.err, result.err


def test_records_that_are_left_out_are_named(root: Path, cli: Command) -> None:
    for path in root.rglob("lora/digits/*.json"):
        path.write_text("{")
    result = cli("compare", "aoft", "lora")
    lines = result.err.splitlines()
    assert result.code == 2 and len(lines) == 4 and all("left out results/records/" in line for line in lines[:3])
    assert "unknown method 'lora'" in lines[3]


@pytest.mark.parametrize(("option", "title"), [("shots", "4-shot"), ("train", "4 training images")])
def test_numbers_of_images_are_chosen(root: Path, cli: Command, option: str, title: str) -> None:
    for number in (1, 4):
        of = {"rule": 1, "seed": 0, "splits": [], "pool": "ab12", option: number}
        more = {"data__drawn": of, "data__fingerprint": f"{number}", f"config__data__{option}": number}
        for method in ("bitfit", "ssf"):
            laid(root, method, 0, 3.0, **more)
    result = cli("compare", "bitfit", "ssf")
    assert result.code == 2 and f"; choose one by {option}, as in {option}=" in result.err, result.err
    result = cli("compare", "bitfit", "ssf", f"{option}=4")
    assert result.code == 0 and title in result.out, result.err


def test_what_cannot_be_paired_is_refused_in_a_line(root: Path, cli: Command) -> None:
    for seed in (0, 1):
        laid(root, "aoft", seed, 3.0, "shapes_count")
        laid(root, "lora", seed, 3.0, "shapes_count")
    result = cli("compare", "aoft", "lora")
    assert result.code == 2 and "have 2 datasets and settings in common: digits in" in result.err
    assert "; choose one by dataset, as in dataset=digits" in result.err
    assert cli("compare", "aoft", "lora", "dataset=shapes_count").code == 0
    paths = [str(next(root.rglob(f"aoft/{dataset}/seed0-*.json"))) for dataset in ("digits", "shapes_count")]
    assert "cannot pair images: the dataset of A is digits, of B shapes_count" in cli("compare", *paths).err
    for path in root.rglob("lora/digits/*.npz"):
        path.unlink()
    result = cli("compare", "aoft", "lora", "dataset=digits")
    assert result.code == 2 and "no predictions of LoRA on digits are here: its 3 runs kept none" in result.err
    predictions_path(Path(paths[0])).write_bytes(b"")
    for words in (["aoft", "linear", "dataset=digits"], [paths[0], paths[0]]):
        result = cli("compare", *words)
        assert result.code == 2 and "is not what the run wrote" in result.err and len(result.err.splitlines()) == 1
