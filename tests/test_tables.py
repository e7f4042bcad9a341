"""Tables from hand-made records: what shares a table, a row, a cell, and the arithmetic of the means."""

import copy
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aoft_bench.results.tables import build_tables, markdown, text_tables

ROOT = Path(__file__).resolve().parent.parent
NOTE = "a folder pack"


def record(
    top1: float, dataset: str = "cifar100", method: str = "lora", seed: int = 0, **changes: Any
) -> dict[str, Any]:
    """A record as run.py writes it, as far as tables read it; `changes` are by path, with __ for the dot."""
    made: dict[str, Any] = {
        "schema": 1,
        "backbone": "vit_b16_in21k",
        "method": method,
        "dataset": dataset,
        "seed": seed,
        "hash": "0123456789",
        "protocol": {"name": "clean"},
        "metrics": {"split": "test", "top1": top1, "correct": 1, "total": 2},
        "parameters": {"trained": 294_912, "head": 76_900},
        "data": {
            "fingerprint": f"{dataset:_<12}",
            "official": True,
            "official_note": "",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "weights": {"sha256": "a" * 64},
        "precision": "fp32",
        "config": {
            "backbone": {"img_size": 224},
            "data": {"interpolation": "bicubic"},
            "recipe": {"epochs": 100, "lr": 1e-3, "weight_decay": 1e-4},
            "method": {"name": method, "rank": 8},
            "trainer": {},
        },
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = made
        for parent in parents:
            node = node[parent]
        node[last] = value
    return copy.deepcopy(made)


def rows(text: str) -> list[list[str]]:
    """The body of the Markdown tables, cell by cell, header first."""
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


GOLDEN = r"""### vit_b16_in21k, protocol clean

test top-1 in % of the last epoch, seeds 0, 1; 100 epochs, 224 px bicubic, mean 0.5, std 0.5, fp32, weights aaaaaaaaaaaa.

| method | trained | with head | cifar100 | svhn* | eurosat | mean | mean of groups |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| linear | 0 | 76,900 | 40.0 | missing | missing | - | - |
| lora | 294,912 | 371,812 | 61.0 ± 1.4 | 80.0 | 90.0 | 77.0 | 80.2 |

\* not the official images or splits (a folder pack): not comparable with published rows.
"""  # noqa: E501 - the text as it is printed


def test_golden_table() -> None:
    """cifar100 and svhn are natural, eurosat is specialized: flat (61 + 80 + 90) / 3, by group (70.5 + 90) / 2."""
    unofficial = {"data__official": False, "data__official_note": NOTE}
    found = [
        record(60.0),
        record(62.0, seed=1),
        record(80.0, "svhn", **unofficial),
        record(90.0, "eurosat"),
        record(40.0, method="linear", parameters__trained=0),
    ]
    assert markdown(build_tables(found)) == GOLDEN
    assert markdown(build_tables(found[::-1])) == GOLDEN  # whatever the order of the records


def test_std_is_that_of_a_sample_over_seeds() -> None:
    values = [50.0, 53.0, 57.0]
    (_, row) = rows(markdown(build_tables([record(v, seed=i) for i, v in enumerate(values)])))
    assert row[-1] == f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"
    assert row[-1] == "53.3 ± 3.5"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("protocol__name", "literature"),
        ("weights__sha256", "b" * 64),
        ("backbone", "vit_l16_in21k"),
        ("config__backbone__img_size", 112),
        ("config__recipe__epochs", 20),
        ("data__mean", [0.0, 0.0, 0.0]),
        ("config__data__interpolation", "bilinear"),
        ("precision", "bf16"),
    ],
)
def test_other_settings_never_share_a_table(path: str, value: Any) -> None:
    tables = build_tables([record(60.0), record(70.0, seed=1, **{path: value})])
    assert len(tables) == 2
    assert sorted(cell for table in tables for row in table.rows for cell in row.cells["cifar100"]) == [60.0, 70.0]
    assert all(len(row.cells["cifar100"]) == 1 for table in tables for row in table.rows)


@pytest.mark.parametrize(
    ("path", "value", "labels"),
    [
        ("config__method__rank", 1, ["lora (rank=1)", "lora (rank=8)"]),
        ("config__recipe__lr", 5e-3, ["lora (lr=0.001)", "lora (lr=0.005)"]),
        ("data__fingerprint", "other_images", ["lora (data=cifar100)", "lora (data=other_im)"]),
    ],
)
def test_variants_are_rows_labelled_by_what_differs(path: str, value: Any, labels: list[str]) -> None:
    (table,) = build_tables([record(60.0), record(70.0, seed=1, **{path: value})])
    assert sorted(row.label for row in table.rows) == labels
    assert all(len(row.cells["cifar100"]) == 1 for row in table.rows)


def test_recipes_tuned_per_dataset_share_a_row() -> None:
    (table,) = build_tables([record(60.0), record(80.0, "svhn", config__recipe__lr=5e-3)])
    (row,) = table.rows
    assert row.label == "lora"
    assert row.cells == {"cifar100": [60.0], "svhn": [80.0]}


def test_best_test_epoch_is_labelled_and_is_not_the_result() -> None:
    change = {"protocol__name": "literature", "metrics": {"split": "test", "top1": 60.0, "best_test_epoch_top1": 66.0}}
    text = markdown(build_tables([record(0.0, **change)]))
    assert rows(text)[1][-1] == "60.0 [best test epoch 66.0]"
    assert "chosen on the test split" in text and "it is not the result" in text


def test_validation_scores_are_called_so() -> None:
    (table,) = build_tables([record(60.0, protocol__name="tune", metrics__split="val200")])
    assert table.caption.startswith("val200 top-1")


def test_a_terminal_shows_the_same_cells() -> None:
    shown = text_tables([record(60.0), record(62.0, seed=1)])
    assert "61.0 ± 1.4" in shown and "vit_b16_in21k, protocol clean" in shown


def test_the_command_writes_the_table_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "results" / "records" / "x.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record(60.0)))
    program = (
        "import runpy, sys\n"
        "sys.argv = ['tables', 'results']\n"
        "try:\n    runpy.run_module('aoft_bench.tables', run_name='__main__')\n"
        "except SystemExit as stopped:\n    assert not stopped.code, stopped.code\n"
        "heavy = {'torch', 'timm', 'wandb', 'pytorch_lightning', 'hydra', 'tensorflow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "results" / "tables" / "accuracy.md").read_text()
    assert rows(written)[1] == ["lora", "294,912", "371,812", "60.0"]
    assert written.strip() in done.stdout
    assert "1 records" in done.stdout
