"""Few-shot records: what shares a cell, a table for each number of shots, and the table over all of them."""

from typing import Any

import pytest
from record_cases import markdown_rows, record

from aoft_bench.records.identity import record_hash
from aoft_bench.records.schema import check_record
from aoft_bench.results.fewshot_table import fewshot_tables
from aoft_bench.results.names import stem
from aoft_bench.results.published import PublishedRow, beside
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.writers.markdown import to_markdown
from aoft_bench.utils.errors import UserError


def few(top1: float, shots: int, dataset: str = "cub", seed: int = 0, draw: int | None = None, **changes: Any) -> Any:
    """A record of `shots` images a class, drawn by its seed or by `draw`."""
    drawn = {"rule": 1, "seed": seed if draw is None else draw, "splits": [], "pool": "ab12", "shots": shots}
    images = {
        "data__source": "json",
        "data__official": False,
        "data__fingerprint": f"{dataset} {shots} {drawn['seed']}",
    }
    return record(top1, dataset, seed=seed, data__drawn=drawn, config__data__shots=shots, **images | changes)


def test_seeds_that_draw_their_own_images_share_a_cell():
    (one,) = build_comparisons([few(50.0, 4), few(60.0, 4, seed=1), few(70.0, 4, seed=2)])
    assert one.title == "FGVC, 4-shot: ViT-B/16 (IN-21k), protocol clean, 224 px, 100 epochs" and one.layout == "fgvc"
    assert [row.cells for row in one.rows] == [{"cub": [50.0, 60.0, 70.0]}] and not one.setting.images
    assert one.setting.as_columns()["suite"] == "fgvc, 4-shot"


def test_draws_that_are_chosen_apart_from_the_seed_do_not():
    found = build_comparisons([few(50.0, 4, draw=0), few(60.0, 4, draw=1), few(70.0, 4, seed=1, draw=0)])
    assert [[row.cells["cub"] for row in one.rows] for one in found] == [[[50.0, 70.0]], [[60.0]]]


def test_numbers_of_shots_are_tables_of_their_own_with_names_of_their_own():
    found = build_comparisons(
        [few(50.0, 4), few(60.0, 16), record(90.0, "cub", data__official=False, data__source="json")]
    )
    assert [one.setting.subset for one in found] == ["", "4-shot", "16-shot"]
    assert len({stem(one) for one in found}) == 3
    printed = PublishedRow("LoRA", "fgvc", "ViT-B/16", "a paper", None, {"cub": 88.0}, {}, None, "none")
    assert [len(beside([printed], one)) for one in found] == [1, 0, 0]  # of all training images


def test_the_table_has_a_column_for_each_set_and_number_of_shots():
    found = [few(10.0 * shots, shots, name, seed) for shots in (1, 2) for name in ("cub", "cars") for seed in (0, 1)]
    found += [few(15.0, 1, method="linear", parameters__trained=0)]
    (table,) = fewshot_tables(build_comparisons(found))
    assert table.title == "Few-shot, FGVC: ViT-B/16 (IN-21k), protocol clean, 224 px, 100 epochs"
    rows = markdown_rows(to_markdown([table]))
    assert rows[0] == [
        "method",
        "trained",
        *(f"{name} {n}-shot" for name in ("CUB-200-2011", "Stanford Cars", "mean") for n in (1, 2)),
    ]
    assert rows[1] == ["Linear", "0", "**15.0**", "missing", "missing", "missing", "missing", "missing"]
    assert [text.split(" ")[0].strip("*</u>") for text in rows[2][2:]] == [
        "10.0",
        "20.0",
        "10.0",
        "20.0",
        "10.0",
        "20.0",
    ]


def test_there_is_no_such_table_of_other_records():
    assert fewshot_tables(build_comparisons([record(50.0), record(60.0, "cub")])) == []


def test_shots_are_in_the_hash_and_a_record_must_say_what_was_drawn():
    """The same images train otherwise: without those of val."""
    made, plain = few(50.0, 4), few(50.0, 4)
    del plain["config"]["data"]["shots"]
    assert record_hash(made) != record_hash(plain)
    made["metrics"] |= {"correct": 5000}
    made["hash"] = record_hash(made)
    check_record(made)
    del made["data"]["drawn"]["shots"]
    with pytest.raises(UserError, match=r"data.drawn.shots is None, but config.data.shots is 4"):
        check_record(made)


def test_names_of_ones_own_have_tables(tmp_path):
    own = {"data__source": "image_folder", "data__official": False}
    found = [
        record(50.0, name, **own, config__dataset={"name": name, "own": True}) for name in ("mine", "folder", "ants")
    ]
    (one,) = build_comparisons(found)
    assert one.datasets == ["folder", "ants", "mine"] and one.title.startswith("Own data: ")
    some = [
        record(50.0 + n, "mine", **own, data__drawn={"rule": 1, "seed": 0, "pool": "ab12", "train": n}) for n in (5, 9)
    ]
    assert [one.setting.subset for one in build_comparisons(some)] == ["5 training images", "9 training images"]
