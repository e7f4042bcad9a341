"""Tables from hand-made records: what shares a table, a row, a cell, the arithmetic of the means, and the marks."""

import statistics
from typing import Any

import pytest
from record_cases import markdown_rows, record

from aoft_bench.data.tasks import TASKS
from aoft_bench.results.ablation_table import ablation_tables
from aoft_bench.results.accuracy_table import accuracy_table
from aoft_bench.results.files import text_tables
from aoft_bench.results.ranking import marks, rounded
from aoft_bench.results.rows import means
from aoft_bench.results.settings import Comparison, build_comparisons
from aoft_bench.results.table import spans
from aoft_bench.results.writers.markdown import to_markdown

PACK = {"data__official": False, "data__source": "folder", "data__official_note": "a folder pack"}
WEIGHTS = "Weights: vit_b16_in21k, SHA-256 aaaaaaaaaaaa."
VTAB = [name for name, task in TASKS.items() if task.suite == "vtab1k"]

GOLDEN = r"""### Tasks of VTAB-1k: ViT-B/16 (IN-21k), protocol clean, 224 px, 100 epochs

Top-1 in % on test, last epoch, mean ± standard deviation over 1 to 2 of the seeds 0, 1, not the same in every cell; 100 epochs, 224 px bicubic, mean 0.5, std 0.5, fp32; images: folder, not official.

| method | trained | with head | CIFAR-100\* | SVHN\* | EuroSAT\* | mean | mean of groups |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| Linear | 0 | 76,900 | <u>40.0</u> | missing | missing | missing | missing |
| Adapter | 100,000 | 176,900 | **61.0** | <u>79.9</u> | **90.0** | **77.0** | <u>80.2</u> |
| LoRA | 294,912 | 371,812 | **61.0** ± 1.4 | **80.0** | **90.0** | **77.0** | **80.3** |

\* not the official images or splits (a folder pack): not comparable with published rows.

Weights: vit_b16_in21k, SHA-256 aaaaaaaaaaaa.
"""  # noqa: E501 - the text as it is printed


def markdown(comparisons: list[Comparison]) -> str:
    """The accuracy of each as it is printed."""
    return to_markdown([accuracy_table(comparison) for comparison in comparisons])


def golden_records() -> list[dict[str, Any]]:
    """cifar100 and svhn are natural, eurosat is specialized: lora (61 + 80 + 90) / 3, by group (70.5 + 90) / 2."""
    few = {**PACK, "parameters__trained": 100_000}
    return [
        record(60.0, **PACK),
        record(62.0, seed=1, **PACK),
        record(80.0, "svhn", **PACK),
        record(90.0, "eurosat", **PACK),
        record(60.96, method="adapter", **few),
        record(79.94, "svhn", method="adapter", **few),
        record(89.96, "eurosat", method="adapter", **few),
        record(40.0, method="linear", **PACK, parameters__trained=0),
    ]


def test_golden_table() -> None:
    """adapter: (60.96 + 79.94 + 89.96) / 3 = 76.953 prints 77.0 as lora's 77.0 does, so that both are bold."""
    found = golden_records()
    assert markdown(build_comparisons(found)) == GOLDEN
    assert markdown(build_comparisons(found[::-1])) == GOLDEN  # whatever the order of the records


def test_ties_are_found_after_rounding_and_shared() -> None:
    assert marks([72.34, 72.30, 72.24, 72.2, None, 70.0]) == ["best", "best", "second", "second", "", ""]
    assert marks([72.34, None]) == ["", ""]  # nothing to compare with
    assert marks([50.0, 50.04]) == ["best", "best"]
    found = [record(top1, method=name) for name, top1 in (("a", 72.34), ("b", 72.30), ("c", 72.24))]
    shown = {row[0]: row[3] for row in markdown_rows(markdown(build_comparisons(found)))}  # cifar100
    assert (shown["a"], shown["b"], shown["c"]) == ("**72.3**", "**72.3**", "<u>72.2</u>")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (72.34, "72.3"),
        (72.25, "72.3"),
        (72.35, "72.4"),
        (82.25, "82.3"),
        (99.95, "100.0"),
        (-0.04, "0.0"),
        (0.0, "0.0"),
    ],
)
def test_halves_are_rounded_up(value: float, text: str) -> None:
    assert rounded(value) == text


def test_std_is_that_of_a_sample_over_seeds() -> None:
    values = [50.0, 53.0, 57.0]
    tables = build_comparisons([record(v, seed=i, **PACK) for i, v in enumerate(values)])
    (_, row) = markdown_rows(markdown(tables))
    assert row[-1] == f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" == "53.3 ± 3.5"
    assert "over seeds 0, 1, 2;" in tables[0].caption


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
        ("data__official", False),
        ("data__source", "folder"),
        ("data__fingerprint", "other_images"),
        ("metrics__split", "val200"),
    ],
)
def test_other_settings_never_share_a_table(path: str, value: Any) -> None:
    changed = {"data__official_note": "why", path: value}
    tables = build_comparisons([record(60.0), record(70.0, seed=1, **changed)])
    assert len(tables) == 2
    assert len({table.title for table in tables}) == 2
    assert sorted(cell for table in tables for row in table.rows for cell in row.cells["cifar100"]) == [60.0, 70.0]
    for table in tables:  # and nothing is ranked across them
        shown = accuracy_table(table)
        assert {cell.mark for block in shown.blocks for row in block.rows for cell in row} == {""}


def test_official_and_unofficial_cells_of_a_method_are_set_apart() -> None:
    official, pack = build_comparisons([record(60.0), record(80.0, "svhn", **PACK)])
    assert (official.unofficial, pack.unofficial) == (set(), {"svhn"})
    assert (official.layout, pack.layout) == ("vtab1k", "plain")
    assert means(official.rows[0].scores, official.datasets) == (None, None)  # 18 tasks are missing
    assert "not comparable with published rows" in pack.notes[0]
    assert official.notes == [WEIGHTS]


@pytest.mark.parametrize(
    ("path", "value", "labels"),
    [
        ("config__method__rank", 1, ["LoRA (rank=1)", "LoRA (rank=8)"]),
        ("config__recipe__lr", 5e-3, ["LoRA (lr=0.001)", "LoRA (lr=0.005)"]),
    ],
)
def test_variants_are_rows_labelled_by_what_differs(path: str, value: Any, labels: list[str]) -> None:
    (table,) = build_comparisons([record(60.0), record(70.0, seed=1, **{path: value})])
    assert sorted(row.label for row in table.rows) == labels
    assert all(len(row.cells["cifar100"]) == 1 for row in table.rows)


@pytest.mark.parametrize(
    ("blocks", "label"), [("last:4", "LoRA (blocks=last:4)"), ([3, 11], "LoRA (blocks=3+11)"), (1, "LoRA")]
)
def test_a_row_says_which_blocks_a_method_acts_on(blocks: Any, label: str) -> None:
    """Also where no other row has the method on other blocks. A number is the option of partial fine-tuning alone."""
    (table,) = build_comparisons([record(60.0, config__method__blocks=blocks)])
    assert [row.label for row in table.rows] == [label]
    assert [row.code for row in table.rows] == [label.replace("LoRA", "lora")]


def test_recipes_tuned_per_dataset_share_a_row() -> None:
    (table,) = build_comparisons([record(60.0), record(80.0, "svhn", config__recipe__lr=5e-3)])
    (row,) = table.rows
    assert (row.label, row.code) == ("LoRA", "lora")
    assert row.cells == {"cifar100": [60.0], "svhn": [80.0]}


def test_one_run_under_two_hashes_is_not_two_seeds() -> None:
    again = record(70.0, hash="9999999999", config__data__normalization="half")
    (table,) = build_comparisons([again, record(60.0), record(64.0, seed=1)])
    (row,) = table.rows
    assert row.cells == {"cifar100": [60.0, 64.0]}
    assert "0123456789 is used, 9999999999 is not" in table.notes[-1]


def test_best_test_epoch_is_a_row_of_its_own_and_is_not_ranked() -> None:
    def literature(method: str, top1: float, best: float) -> dict[str, Any]:
        metrics = {"split": "test", "top1": top1, "best_test_epoch_top1": best}
        return record(0.0, method=method, protocol__name="literature", metrics=metrics, **PACK)

    text = markdown(build_comparisons([literature("lora", 60.0, 66.0), literature("ssf", 50.0, 70.0)]))
    shown = {row[0]: row[-1] for row in markdown_rows(text)}
    assert shown["LoRA"] == "**60.0**" and shown["SSF"] == "<u>50.0</u>"
    assert shown["LoRA [best test epoch]"] == "66.0" and shown["SSF [best test epoch]"] == "70.0"
    assert "chosen on the test split" in text and "it is not the result" in text


def test_versions_of_the_code_are_named() -> None:
    """A digest and the clean commit that a record with both has are one version."""
    first, second = {"code": "a" * 16, "git": {"commit": "1" * 40, "dirty": False}}, {"code": "b" * 16}
    known = [record(60.0, **first), record(61.0, seed=1, git=first["git"]), record(40.0, method="linear", **first)]
    assert not any("versions" in note for note in build_comparisons(known)[0].notes)
    apart = [*known[:2], record(40.0, method="linear", **second)]
    (*_, note) = build_comparisons(apart)[0].notes
    assert note == "The records were made by 2 versions of the code, aaaaaaaa (2), bbbbbbbb (1); each row is of one."
    mixed = [*known, record(62.0, seed=2, git={"commit": "1" * 40, "dirty": True}), record(63.0, seed=3)]
    (table,) = build_comparisons(mixed)
    assert table.notes == [
        WEIGHTS,
        "The records were made by 3 versions of the code, aaaaaaaa (3), 11111111 with changes (1), unknown (1); "
        "rows of several: LoRA.",
    ]
    assert f"{table.notes[1]}\n" in markdown([table]) and "rows of several: LoRA" in text_tables(mixed)


def test_validation_scores_are_called_so() -> None:
    (table,) = build_comparisons([record(60.0, protocol__name="tune", metrics__split="val200")])
    assert table.caption.startswith("Top-1 in % on val200")
    assert "not results" in table.notes[0]


def test_what_is_not_official_of_all_datasets_is_said_once() -> None:
    notes = {"svhn": "a folder pack", "dtd": "a folder pack; 10 classes instead of 47; sizes 1/2/3"}
    records = [record(60.0, name, **(PACK | {"data__official_note": note})) for name, note in notes.items()]
    (table,) = build_comparisons(records)
    why = "a folder pack; DTD: 10 classes instead of 47, sizes 1/2/3"
    assert table.notes[0] == f"* not the official images or splits ({why}): not comparable with published rows."


def test_copies_of_training_images_are_named_below_a_table() -> None:
    with_copies = record(60.0, "svhn", data__copies=12)
    (table,) = build_comparisons([with_copies, record(60.0, data__copies=0), record(61.0, seed=1)])
    note, weights = table.notes
    assert (
        note == "Images of test that are training images too, pixel for pixel: SVHN 12 of 10,000."
        and weights == WEIGHTS
    )


def test_layout_of_vtab1k() -> None:
    """19 columns in three groups; natural 1 .. 7, specialized 8 .. 11, structured 12 .. 19 have means 4, 9.5, 15.5."""
    found = [record(float(i), name) for i, name in enumerate(VTAB, 1)]
    (table,) = build_comparisons(found)
    grid = accuracy_table(table)
    assert [span for span in spans(grid.columns) if span[0]] == [("Natural", 8), ("Specialized", 5), ("Structured", 9)]
    header, row = markdown_rows(to_markdown([grid]))
    shown = dict(zip(header, row, strict=True))
    assert [shown[f"{group} mean"] for group in ("natural", "specialized", "structured")] == ["4.0", "9.5", "15.5"]
    assert (shown["mean"], shown["mean of groups"]) == ("10.0", "9.7")  # (4 + 9.5 + 15.5) / 3 = 9.67
    assert (shown["trained (M)"], shown["with head (M)"]) == ("0.295", "0.372")


def test_a_mean_over_an_incomplete_row_is_missing() -> None:
    (table,) = build_comparisons([record(50.0, name) for name in VTAB if name != "svhn"])
    header, row = markdown_rows(to_markdown([accuracy_table(table)]))
    shown = dict(zip(header, row, strict=True))
    assert [shown[name] for name in ("SVHN", "natural mean", "mean", "mean of groups")] == ["missing"] * 4
    assert shown["structured mean"] == "50.0"


def test_fgvc_has_its_five_columns() -> None:
    source = {**PACK, "data__source": "fgvc"}
    (table,) = build_comparisons([record(80.0, "cub", **source)])
    assert table.datasets == ["cub", "nabirds", "flowers", "dogs", "cars"]
    assert markdown_rows(markdown([table]))[1][3:] == ["80.0", *["missing"] * 5]


def test_settings_of_one_method_are_an_ablation() -> None:
    matched = {"config__method": {"name": "lora", "label": "lora_matched", "rank": 1}, "parameters__trained": 32_256}
    found = [record(60.0, **PACK), record(62.0, method="lora_matched", **matched, **PACK)]
    (grid,) = ablation_tables(*build_comparisons([*found, record(50.0, method="ssf", **PACK)]))
    assert [column.name for column in grid.columns] == ["method", "rank", "trained", "with head", "cifar100"]
    assert [[cell.text for cell in row] for row in grid.blocks[0].rows] == [
        ["LoRA r=1", "1", "32,256", "109,156", "62.0"],
        ["LoRA", "8", "294,912", "371,812", "60.0"],
    ]


def test_a_terminal_shows_the_same_cells() -> None:
    shown = text_tables([record(60.0, **PACK), record(62.0, seed=1, **PACK)])
    assert "61.0 ± 1.4" in shown
    assert "ViT-B/16 (IN-21k), protocol clean, 224 px" in " ".join(shown.split())
