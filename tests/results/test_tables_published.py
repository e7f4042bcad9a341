"""Published rows: their arithmetic, beside which tables they stand, and what is said of what differs."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest
from record_cases import markdown_rows, record

from aoft_bench.data.tasks import TASKS
from aoft_bench.results.accuracy_table import accuracy_table
from aoft_bench.results.published import PublishedRow, beside, load
from aoft_bench.results.ranking import rounded
from aoft_bench.results.settings import Comparison, build_comparisons
from aoft_bench.results.writers.markdown import to_markdown

RESULTS = Path(__file__).resolve().parents[2] / "results"
FGVC = ("cub", "nabirds", "flowers", "dogs", "cars")
UNPROVEN = {"data__official": False, "data__source": "fgvc", "data__official_note": "unproven"}


def published(**changes: Any) -> PublishedRow:
    """A row of five FGVC cells with the mean 88."""
    values: dict[str, Any] = {
        "method": "ARC",
        "benchmark": "fgvc",
        "backbone": "ViT-B/16 IN-21k sup. (orig)",
        "source": "a paper",
        "params_m": 0.25,
        "cells": dict(zip(FGVC, (86.0, 87.0, 88.0, 89.0, 90.0), strict=True)),
        "groups": {},
        "mean": 88.0,
        "mean_kind": "mean19",
        "checkpoint": "last epoch",
        "images": "not stated",
        "normalization": "half",
    }
    return PublishedRow(**(values | changes))


def fgvc_table(top1: float = 80.0, **changes: Any) -> Comparison:
    (table,) = build_comparisons([record(top1, name, **UNPROVEN, **changes) for name in FGVC])
    return table


GOLDEN = r"""### FGVC: ViT-B/16 (IN-21k), protocol clean, 224 px, 100 epochs

Top-1 in % on test, last epoch, seed 0; 100 epochs, 224 px bicubic, mean 0.5, std 0.5, fp32; images: fgvc, not official.

| method | trained (M) | with head (M) | CUB-200-2011\* | NABirds\* | Oxford Flowers\* | Stanford Dogs\* | Stanford Cars\* | mean |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| LoRA | 0.295 | 0.372 | 80.0 | 80.0 | 80.0 | 80.0 | 80.0 | 80.0 |
| *published, not ranked with ours: a paper* |  |  |  |  |  |  |  |  |
| ARC [a] | 0.25 | n/a | 86.0 | 87.0 | 88.0 | 89.0 | 90.0 | 88.0 |
| SSF [b,c,d] | n/a | n/a | 86.0 | 87.0 | 88.0 | 89.0 | 90.0 | 88.0 |
| *published, not ranked with ours: another paper* |  |  |  |  |  |  |  |  |
| RLRR [a] | 0.25 | n/a | 86.0 | 87.0 | 88.0 | 89.0 | 90.0 | 88.0 |

\* not the official images or splits (unproven): not comparable with published rows.

Weights: vit_b16_in21k, SHA-256 aaaaaaaaaaaa.

[a] images not stated (ours: not official, from fgvc).

[b] checkpoint best test epoch (ours: last epoch); backbone ViT-B/16 IN-21k AugReg (ours: vit_base_patch16_224.orig_in21k); images not stated (ours: not official, from fgvc); normalisation ImageNet (ours: half).

[c] typed by hand.

[d] prints 89 as its flat mean, its cells give 88.00 (+1.00).
"""  # noqa: E501 - the text as it is printed


def test_golden_table_with_published_rows() -> None:
    other = {"checkpoint": "best test epoch", "backbone": "ViT-B/16 IN-21k AugReg", "normalization": "ImageNet"}
    rows = [
        published(),
        published(method="RLRR", source="another paper"),
        published(method="SSF", params_m=None, mean=89.0, note="typed by hand", **other),
    ]
    assert to_markdown([accuracy_table(fgvc_table(), rows)]) == GOLDEN


def test_a_higher_published_number_takes_no_mark_from_ours() -> None:
    (table,) = build_comparisons([record(80.0, "cub", **UNPROVEN), record(70.0, "cub", method="ssf", **UNPROVEN)])
    grid = accuracy_table(table, [published()])
    marks = {row[0].text: row[3].mark for block in grid.blocks for row in block.rows}
    assert marks == {"LoRA": "best", "SSF": "second", "ARC": ""}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"protocol__name": "tune", "metrics__split": "val200"}, "scored on test (ours: val200)"),
        ({"config__backbone__img_size": 112}, "224 px (ours: 112)"),
        ({"weights__source": "mine.npz"}, "backbone ViT-B/16 IN-21k sup. (orig) (ours: mine.npz)"),
        ({"data__mean": [0.0] * 3, "data__std": [1.0] * 3}, "normalisation half (ours: none)"),
        (
            {"data__mean": [0.485, 0.456, 0.406], "data__std": [0.229, 0.224, 0.225]},
            "normalisation half (ours: ImageNet)",
        ),
    ],
)
def test_the_reason_names_what_differs(changes: dict[str, Any], text: str) -> None:
    grid = accuracy_table(fgvc_table(**changes), [published()])
    assert text in grid.notes[-1]


def test_published_rows_stand_only_beside_their_benchmark_and_kind_of_network() -> None:
    known = [published(), published(canonical=False), published(backbone="ViT-L/16 IN-21k")]
    assert beside(known, fgvc_table()) == known[:1]
    assert not beside(known, fgvc_table(config__backbone__timm="vit_nano"))
    (pack,) = build_comparisons([record(60.0, data__official=False, data__source="folder")])
    assert not beside(known, pack)


def test_the_shipped_differences_are_those_of_the_printed_mean_and_its_cells() -> None:
    rows = {(row.method, row.source, row.benchmark): row for row in load(RESULTS).rows}
    noted = 0
    for name, benchmark in (("vtab", "vtab1k"), ("vtab_other_backbones", "vtab1k"), ("fgvc", "fgvc")):
        with (RESULTS / "published" / f"{name}.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        for line in lines:
            row = rows[line["method"], line["source"], benchmark]
            if row.mean is None or row.mean_kind not in row.computed:
                assert line["difference"] == ""
                continue
            difference = row.mean - row.computed[row.mean_kind]
            assert line["difference"] == rounded(difference, 2)
            said = [text for text in row.disagreements if "flat mean" in text or "mean of the group" in text]
            noted += len(said)
            assert said or abs(difference) < 0.051, line["method"]  # else it is rounding
    assert noted > 20


def test_a_printed_mean_that_is_not_that_of_its_cells_is_said_with_the_difference() -> None:
    (lora,) = [row for row in load(RESULTS).rows if row.method == "LoRA" and row.source.startswith("extremebird")]
    assert lora.disagreements == ["prints 74.5 as its mean of the group means, its cells give 74.60 (-0.10)"]
    assert published(mean=88.0).disagreements == []
    assert published(mean=88.1).disagreements == ["prints 88.1 as its flat mean, its cells give 88.00 (+0.10)"]
    exact = published(cells=dict.fromkeys(FGVC, 88.04), mean=88.0)
    assert exact.disagreements == [] and published(mean=88.04).disagreements


def test_rows_that_cannot_come_from_the_released_files_say_so() -> None:
    noted = {row.method for row in load(RESULTS).rows if "one and the same blob" in row.note}
    assert noted == {"GPS", "LAST", "DTL", "Hydra", "NOAH", "FacT", "RepAdapter", "SSF", "VPT-Shallow"}


def test_the_shipped_rows_are_whole() -> None:
    rows = load(RESULTS).rows
    assert len(rows) == 147 + 21 + 62 + 29 + 13 + 6
    for row in rows:
        suite = [task for task in TASKS.values() if task.suite == row.benchmark]
        tasks = {name for task in suite for name in (task.name, *task.shifts)}
        assert row.cells.keys() == tasks or (not row.cells and row.method.endswith(("AOFT", "AOFT†"))), row
    (lora,) = [row for row in rows if row.method == "LoRA" and row.source.startswith("synbol")]
    assert round(lora.computed["mean19"], 2) == 72.25 and round(lora.computed["group3"], 2) == 74.60
    (wrong,) = [row for row in rows if row.method == "FFT (PSOFT re-run)"]
    assert wrong.disagreements == [
        "prints 67.8 as its mean of the group means, its cells give 71.07 (-3.27); "
        "the printed number is their flat mean"
    ]
    (noah,) = [row for row in rows if row.method == "NOAH" and row.canonical]
    assert (noah.checkpoint, noah.images) == ("best test epoch", "JPEG pack")


def test_aofts_own_means_are_shown_without_cells() -> None:
    (row,) = [row for row in load(RESULTS).rows if row.method == "Adapter+AOFT†" and row.benchmark == "vtab1k"]
    (table,) = build_comparisons([record(60.0)])
    header, _, _, cells = markdown_rows(to_markdown([accuracy_table(table, [row])]))
    shown = dict(zip(header, cells, strict=True))
    means = [shown[name] for name in ("natural mean", "specialized mean", "structured mean", "mean", "mean of groups")]
    assert means == ["81.4", "83.9", "59.4", "72.7", "n/a"] and shown["CIFAR-100"] == "n/a"


HEADER = b"method,params_m,cub200,reported_mean,source\n"
GOOD = b"LoRA,0.1,87.5,87,paper\n"


@pytest.mark.parametrize(
    ("content", "reason", "rows"),
    [
        (HEADER + b"LoRA,0.1,87.x,87,paper\n" + GOOD, "line 2: cub is '87.x', not a number from 0 to 100", 1),
        (HEADER + b"LoRA,0.1,nan,87,paper\nLoRA,1e400,87,87,paper\n", "line 2: cub is 'nan', not", 0),
        (HEADER + b"\n" + GOOD + b"\nLoRA,0.1,87.x,87,paper\n", "line 5: cub is '87.x', not", 1),
        (HEADER + GOOD + b"LoRA,1e400,87,87,paper\nLoRA\n", "line 3: params_m is '1e400', not", 1),
        (HEADER + GOOD + b"LoRA,0.1,87,87\n", "line 3: it has more or fewer values than there are columns", 1),
        (HEADER + b"LoRA,0.1,87,87,paper,more\n", "line 2: it has more or fewer values", 0),
        (b"method,params_m\nLoRA,0.1\n", "is damaged: it has no column reported_mean", 0),
        (b"", "is damaged: it has no column", 0),
        (
            b"method,params_m,cub,cub200,reported_mean,source\nA,1,5,6,7,b\n",
            "is damaged: it has two columns for cub",
            0,
        ),
        (HEADER + b"LoRA,0.1,100.1,87,paper\n", "line 2: cub is '100.1', not a number from 0 to 100", 0),
        (HEADER + b"L\xffRA,0.1,87.5,87,paper\n", "is damaged: 'utf-8' codec can't decode", 0),
        (HEADER + GOOD + b'"LoRA,0.1,87.5,87,paper\n', "is damaged: unexpected end of data", 0),
        (HEADER + b"L" * 200_000 + GOOD, "is damaged: field larger than field limit", 0),
        (os.mkfifo, "cannot be read: not a regular file", 0),
        (lambda path: path.symlink_to("/dev/zero"), "cannot be read: not a regular file", 0),
    ],
)
def test_what_is_no_row_is_left_out_by_name(tmp_path: Path, content: Any, reason: str, rows: int) -> None:
    path = tmp_path / "published" / "fgvc.csv"
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    found = load(tmp_path)
    assert len(found.rows) == rows
    (left,) = found.left_out
    assert str(left.below(tmp_path)).startswith(f"published/fgvc.csv: {reason}") and str(left).isprintable()


def test_a_broken_file_of_factors_is_named_and_the_rows_stay(tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "fgvc.csv").write_bytes(HEADER + GOOD)
    (tmp_path / "published" / "factors.csv").write_text("method,source\nLoRA,paper\n")
    found = load(tmp_path)
    assert [row.checkpoint for row in found.rows] == ["not stated"]
    assert [left.reason.partition(";")[0] for left in found.left_out] == ["is damaged: it has no column checkpoint"]


def test_a_factor_that_is_not_known_is_named(tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "fgvc.csv").write_bytes(HEADER + GOOD)
    lines = "method,source,checkpoint,images,normalization\nLoRA,,last epock,,\nLoRA,,,,half\n"
    (tmp_path / "published" / "factors.csv").write_text(lines)
    found = load(tmp_path)
    assert [(row.checkpoint, row.normalization) for row in found.rows] == [("not stated", "half")]
    (left,) = found.left_out
    assert left.reason.startswith("line 2: unknown checkpoint 'last epock' (did you mean 'last epoch'?)")
