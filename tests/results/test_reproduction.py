"""Published rows beside what was run for them: which runs, which numbers, what differs, and lines that are none."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from record_cases import markdown_rows, record
from test_config import SWEEPS, config_of
from test_tables_published import RESULTS, published

from aoft_bench.report.page import render
from aoft_bench.results.files import table_files, text_tables
from aoft_bench.results.published import Published, PublishedRow, load
from aoft_bench.results.reproduction import COLUMNS, CellPair, Target, check_target, load_targets, matches
from aoft_bench.results.reproduction_table import reproduction_tables
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.writers.markdown import to_markdown
from aoft_bench.utils.errors import UserError

PACK = {"data__official": False, "data__source": "folder", "data__official_note": "a pack"}
LITERATURE = {"protocol__name": "literature", "config__protocol__name": "literature"}
RLRR = {"method": "rlrr", "config__recipe__epochs": 110, "config__recipe__lr": 3e-3, **LITERATURE, **PACK}
CELLS = {"eurosat": 95.4, "dtd": 76.0, "svhn": 92.2}


def target(row: PublishedRow | None = None, **changes: Any) -> Target:
    row = row or published(method="RLRR", benchmark="vtab1k", cells=CELLS, checkpoint="best test epoch")
    values: dict[str, Any] = {"name": "vtab_rlrr", "ours": "rlrr", "settings": ("hparams/rlrr",)}
    values["sweep"] = "reproduce_vtab_rlrr"
    return Target(**{"row": row, "seeds": "42 in the code", "missing": "fp16", **values, **changes})


def cell(top1: float, best: float, dataset: str, seed: int, **changes: Any) -> dict[str, Any]:
    return record(top1, dataset, seed=seed, **{**RLRR, "metrics__best_test_epoch_top1": best, **changes})


def packs(**changes: Any) -> list[dict[str, Any]]:
    """EuroSAT with two seeds, DTD with one; the last epoch is worse than the best."""
    return [
        cell(93.0, 94.0, "eurosat", 0, **changes),
        cell(94.0, 95.0, "eurosat", 1, **changes),
        cell(60.0, 61.0, "dtd", 0, **changes),
    ]


def test_another_seed_is_expected_within_students_prediction_interval() -> None:
    pair = CellPair(75.6, (70.0, 72.0, 74.0), (0, 1, 2))
    half = 4.302652729911275 * 2.0 * (4 / 3) ** 0.5 + 0.05  # t of 2 degrees of freedom at 0.975
    assert pair.interval == (pytest.approx(72 - half), pytest.approx(72 + half))
    assert pair.difference == pytest.approx(-3.6) and pair.within is True
    assert CellPair(82.1, pair.values, pair.seeds).within is False
    assert (CellPair(75.6, (70.0,), (0,)).within, CellPair(None, (70.0, 71.0), (0, 1)).within) == (None, None)
    assert (
        CellPair(70.04, (70.0, 70.0), (0, 1)).within is True and CellPair(70.06, (70.0, 70.0), (0, 1)).within is False
    )


def test_the_best_test_epoch_stands_beside_the_best_and_the_last_beside_the_last() -> None:
    comparisons = build_comparisons(packs())
    (best,) = matches(target(), comparisons)
    assert best.best_epoch and best.cells["eurosat"].values == (94.0, 95.0)
    assert not any(text.startswith("checkpoint") for text in best.different)
    last_row = published(method="RLRR", benchmark="vtab1k", cells=CELLS, checkpoint="last epoch")
    (last,) = matches(target(last_row), comparisons)
    assert not last.best_epoch and last.cells["eurosat"].values == (93.0, 94.0)
    (clean,) = matches(target(), build_comparisons(packs(metrics__best_test_epoch_top1=None)))
    assert not clean.best_epoch and "checkpoint best test epoch (ours: last epoch)" in clean.different


def test_the_mean_is_of_the_tasks_that_were_run_on_both_sides_and_of_common_seeds() -> None:
    (match,) = matches(target(), build_comparisons(packs()))
    assert match.mean.published == pytest.approx((95.4 + 76.0) / 2)
    assert (match.mean.values, match.mean.seeds, match.whole) == ((77.5,), (0,), False)


def test_what_differs_is_named() -> None:
    changes = {"config__backbone__img_size": 64, "weights__source": "mine.safetensors"}
    (match,) = matches(target(), build_comparisons(packs(**changes)))
    said = "\n".join(match.different)
    for text in (
        "backbone ViT-B/16 IN-21k sup. (orig) (ours: mine.safetensors)",
        "224 px (ours: 64)",
        "images not stated (ours: not official, from folder)",
        "seeds 42 in the code (ours: 0, 1)",
        "recipe.warmup_epochs 10 (ours: 11)",
        "recipe.schedule epoch (ours: step)",
        "recipe.lr: dtd 0.002 (ours: 0.003), eurosat 0.001 (ours: 0.003)",
        "without an equivalent here: fp16",
    ):
        assert text in said, said
    assert "recipe.epochs" not in said and "recipe.batch_size" not in said


def test_runs_of_the_authors_settings_differ_in_none() -> None:
    config = config_of("method=rlrr", "dataset=eurosat").as_dict()
    made = cell(93.0, 94.0, "eurosat", 42, config__recipe=config["recipe"], config__method=config["method"])
    (match,) = matches(target(missing=""), build_comparisons([made]))
    assert match.different == [
        "images not stated (ours: not official, from folder)",
        "seeds 42 in the code (ours: 42)",
    ]
    (unknown,) = matches(target(settings=()), build_comparisons([made]))
    assert "settings not those of the authors, which conf/hparams does not have" in unknown.different


def test_other_methods_benchmarks_splits_and_plain_runs_of_another_network_take_no_part() -> None:
    others = [
        cell(90.0, 91.0, "eurosat", 0, method="ssf"),
        cell(90.0, 91.0, "cub", 0),
        record(90.0, "eurosat", method="rlrr", config__backbone__timm="vit_nano", **PACK),
        record(90.0, "eurosat", method="rlrr", **PACK),  # a few packs are no benchmark
        record(90.0, "eurosat", method="rlrr", protocol__name="tune", metrics__split="val200"),
    ]
    assert matches(target(), build_comparisons(others)) == []
    (official,) = matches(target(), build_comparisons([record(90.0, "eurosat", method="rlrr")]))
    assert official.cells.keys() == {"eurosat"} and not official.best_epoch


def test_the_setting_that_differs_least_comes_first() -> None:
    small = packs(config__backbone__img_size=64)
    found = matches(target(), build_comparisons([*small, *packs()]))
    assert [one.comparison.setting.img_size for one in found] == [224, 64]
    overview, first, second = reproduction_tables([target()], build_comparisons([*small, *packs()]))
    assert "224 px" in first.title and "64 px" in second.title and len(overview.blocks[0].rows) == 1


def test_tables_of_a_row_that_was_run_and_of_one_that_was_not() -> None:
    other = target(name="vtab_ssf", ours="ssf")
    overview, detail = reproduction_tables([target(), other], build_comparisons(packs()))
    header, run, empty = markdown_rows(to_markdown([overview]))
    shown = dict(zip(header, run, strict=True))
    assert (shown["tasks run"], shown["mean difference"], shown["within seeds"]) == ("2 of 19", "-8.2", "1 of 1")
    assert shown["ours"] == "" and shown["sweep"] == "reproduce_vtab_rlrr"  # a mean of two tasks is no mean of 19
    blank = dict(zip(header, empty, strict=True))
    assert {blank[name] for name in ("ours", "mean difference", "within seeds", "factors that differ")} == {""}
    rows = {row[0]: row[1:] for row in markdown_rows(to_markdown([detail]))}
    assert rows["eurosat"] == ["95.4", "94.5 ± 0.7", "-0.9", "yes", "83.4 to 105.6", "0, 1"]
    assert rows["dtd"] == ["76.0", "61.0", "-15.0", "one seed", "", "0"]
    assert rows["svhn"] == ["92.2", "", "", "", "", ""] and rows["cifar100"] == [""] * 6
    assert rows["mean of dtd, eurosat"][:3] == ["85.7", "77.5", "-8.2"]


def test_every_format_and_the_page_have_them() -> None:
    comparisons = build_comparisons(packs())
    tables = reproduction_tables([target()], comparisons)
    files = table_files(comparisons, [], reproduction=tables)
    for end in (".md", ".tex", ".html", "_wide.csv"):
        assert "94.5" in files[f"reproduction{end}"] and "-15.0" in files[f"reproduction{end}"]
    assert not any(name.startswith("reproduction") for name in table_files(comparisons, []))
    page = render(packs(), [], [], [], reproduction=tables)
    assert '<a href="#reproduction">' in page and "94.5 ± 0.7" in page and "Differs: seeds 42 in the code" in page
    assert '<a href="#reproduction">' not in render(packs(), [], [], [])


def shipped() -> tuple[list[Target], Published]:
    found = load(RESULTS)
    return load_targets(RESULTS, found), found


def test_every_shipped_target_has_its_sweep_and_each_sweep_its_target() -> None:
    targets, found = shipped()
    assert not found.left_out and len(targets) == 30
    named = [one.sweep for one in targets if one.sweep != "paper"]
    assert sorted(path.stem for path in SWEEPS.glob("reproduce_*.yaml")) == sorted(named)


@pytest.mark.parametrize("one", shipped()[0], ids=lambda one: one.name)
def test_a_sweep_asks_for_what_the_published_row_had(one: Target) -> None:
    of_its_own = one.sweep != "paper"
    text = (SWEEPS / f"{one.sweep}.yaml").read_text(encoding="utf-8")
    if of_its_own:
        assert f"method: {one.ours}\n" in text and one.row.method in text
    else:
        assert re.search(rf'[\s",]{one.ours}[",]', text)
    config = config_of(f"method={one.ours}", f"dataset={one.tasks[0]}", name=one.sweep)
    assert one.called(str(config.results.reproduces)) and config.protocol.name == "literature"
    tag = config.backbone.timm.rpartition(".")[2]
    assert {"orig_in21k": "(orig)", "augreg_in21k": "AugReg"}[tag] in one.row.backbone
    half = "ImageNet" if config.data.normalization == "imagenet" else "half"  # of both files
    if of_its_own:  # the paper has rows of others in its tables, whose authors normalised otherwise
        assert one.row.normalization in (half, "not stated")
    made = record(90.0, one.tasks[0], method=one.ours, seed=config.seed, **LITERATURE)
    made["config"] |= {"method": config.as_dict()["method"], "recipe": config.as_dict()["recipe"]}
    (match,) = matches(one, build_comparisons([made]))
    if one.settings and one.ours != "aoft":  # aoft is ours, beside the row of the authors' code
        assert not [text for text in match.different if text.startswith(("method.", "recipe.", "settings"))]


def test_a_sweep_of_several_rows_shows_each_that_it_ran() -> None:
    aims = {"root": str(RESULTS), "reproduces": "paper"}
    cells = [cell(93.0, 94.0, "eurosat", 0, method="lora", config__results=aims)]
    text = text_tables([*cells, cell(93.0, 94.0, "dtd", 0, method="aoft_adapter")])
    assert "(vtab_lora)" in text and "(vtab_aoft_adapter)" in text and "(vtab_rlrr)" not in text
    check_target(RESULTS, "paper")


GOOD = dict(zip(COLUMNS, ("mine", "fgvc", "ARC", "HTA Table 2", "arc", "hparams/arc", "mine", "", ""), strict=True))


def lay_down(root: Path, *lines: dict[str, str]) -> Published:
    folder = root / "published"
    folder.mkdir()
    (folder / "fgvc.csv").write_text("method,params_m,cub200,reported_mean,source\nARC,0.25,88.5,88.5,HTA Table 2\n")
    with (folder / "reproductions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    return load(root)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"method": "ARK"}, "mine names a row that is in no file: unknown published row 'ARK' (did you mean 'ARC'?)"),
        ({"source": "HTA Table 3"}, "unknown source 'HTA Table 3' (did you mean 'HTA Table 2'?)"),
        ({"benchmark": "vtab"}, "mine names a row that is in no file: unknown published row 'ARC'"),
        ({"ours": "arcs"}, "unknown method 'arcs' (did you mean 'arc'?)"),
        ({"settings": "hparams/ark"}, "there are no settings hparams/ark in conf/"),
        ({}, "mine is the name of another line too"),
    ],
)
def test_a_line_that_names_what_is_not_there_is_left_out(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    found = lay_down(tmp_path, GOOD, GOOD | change)
    assert [one.name for one in load_targets(tmp_path, found)] == ["mine"]
    (left,) = found.left_out
    assert str(left.below(tmp_path)).startswith("published/reproductions.csv: line 3: ") and reason in left.reason
    assert str(left).isprintable()


def test_a_sweep_whose_row_does_not_exist_is_refused(tmp_path: Path) -> None:
    lay_down(tmp_path, GOOD)
    check_target(tmp_path, "mine")
    with pytest.raises(UserError, match=r"unknown published row \(results\.reproduces\) 'mime' \(did you mean 'mine'"):
        check_target(tmp_path, "mime")
    (tmp_path / "published" / "fgvc.csv").unlink()
    with pytest.raises(UserError, match="results.reproduces=mine: .*mine names a row that is in no file"):
        check_target(tmp_path, "mine")
