"""Titles: what papers print for a method, a backbone and a dataset, in every format but CSV."""

import csv
from pathlib import Path

import pytest
import yaml
from conftest import Command
from record_cases import markdown_rows, record, write

from aoft_bench.config.folders import conf_dir
from aoft_bench.data.tasks import OWN, TASKS
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.titles import BUILT_IN, Titles

TEMPLATES = {"peft", "timm", "vit_ti16_file"}  # the row's name comes from the command line


@pytest.mark.parametrize("group", ["method", "backbone"])
def test_every_file_has_a_title_of_its_own(group: str) -> None:
    names = [path.stem for path in (conf_dir() / group).glob("*.yaml") if path.stem not in TEMPLATES]
    titles = [getattr(BUILT_IN, group)(name) for name in names]
    assert len(set(titles)) == len(names) > 25
    for name, title in zip(names, titles, strict=True):
        assert title == yaml.safe_load((conf_dir() / group / f"{name}.yaml").read_text())["title"]


def test_every_dataset_has_one_but_ones_own() -> None:
    titles = [task.title for task in TASKS.values() if task.name != OWN]
    assert all(titles) and len(set(titles)) == len(titles)
    assert BUILT_IN.dataset("my_birds") == "my_birds"


def test_of_names_without_a_file() -> None:
    assert BUILT_IN.method("peft_dora") == "peft_dora"
    assert BUILT_IN.method("../method/lora") == "../method/lora"
    assert BUILT_IN.backbone("vit_nano_random") == "ViT-nano, random weights"


def test_rows_that_would_be_called_the_same_are_told_apart() -> None:
    titles = Titles({"method": {"lora": "LoRA", "lora_matched": "LoRA"}})
    (one,) = build_comparisons([record(60.0, method=name) for name in ("lora", "lora_matched")], titles=titles)
    assert {row.label: row.code for row in one.rows} == {"LoRA (lora)": "lora", "LoRA (lora_matched)": "lora_matched"}


def test_a_results_folder_may_have_its_own(tmp_path: Path, cli: Command) -> None:
    root = tmp_path / "results"
    write(root, record(60.0))
    write(root, record(70.0, method="aoft"))
    (root / "titles.yaml").write_text("method: {lora: 'Low rank, r = 8'}\ndataset: {cifar100: C100}\n")
    done = cli("tables")
    assert done.code == 0, done.err
    assert {"Low rank, r = 8", "LoRA+AOFT†"} <= {row[0] for row in markdown_rows(done.out)} and "| C100" in done.out
    latex = (root / "tables/accuracy.tex").read_text()
    assert r"LoRA+AOFT$\dagger$" in latex and "C100" in latex
    for name in ("accuracy_wide.csv", "accuracy_long.csv", "cost_wide.csv"):
        with (root / "tables" / name).open(newline="") as file:
            ours = [line for line in csv.DictReader(file) if not line["block"].startswith("published")]
        assert {line.get("method") or line["row"] for line in ours} == {"aoft", "lora"}
        assert not any("C100" in f"{key} {value}" for line in ours for key, value in line.items())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("methods: {lora: x}", "unknown kind of titles in results/titles.yaml 'methods' (did you mean 'method'?)"),
        ("method: [lora]", "results/titles.yaml: method is ['lora'], give names and titles"),
        ("method: {lora: 3}", "results/titles.yaml: method 'lora' is called 3, give a line of 1 to 100 characters"),
        ('method: {lora: "a\\nb"}', "give a line of 1 to 100 characters"),
        ("method: {", "results/titles.yaml is not YAML"),
        ("- 1", "results/titles.yaml: got [1], give lines like"),
    ],
)
def test_titles_that_cannot_be_used(tmp_path: Path, cli: Command, content: str, said: str) -> None:
    write(tmp_path / "results", record(60.0))
    (tmp_path / "results" / "titles.yaml").write_text(content)
    for command in ("tables", "figures", "report"):
        done = cli(command)
        assert done.code == 2 and done.err.count("\n") == 1 and said in done.err, done.err
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"records", "titles.yaml"}
