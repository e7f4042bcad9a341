"""What figures show is what records hold."""

import csv
import pickle
import statistics
from pathlib import Path
from typing import Any

import pytest
from figure_records import BOTH, VTAB, bars, drawn, lines, ranked, record, texts
from matplotlib.collections import FillBetweenPolyCollection, LineCollection
from matplotlib.text import Annotation

from aoft_bench.figures import cost, curves, gain, parameters, ranks, sizes
from aoft_bench.figures.series import FEATURED, method_styles, row_styles
from aoft_bench.figures.style import drawing_style
from aoft_bench.figures.values import NothingToDrawError, pareto_front, published_points
from aoft_bench.results.published import load
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.titles import BUILT_IN

ROOT = Path(__file__).resolve().parents[2]


def test_parameters_shows_means_spread_and_front() -> None:
    (drawing,) = drawn(parameters.plans, BOTH, [])
    shown = lines(drawing.figure)
    assert shown["Linear"] == ([0.0], [45.0])
    assert shown["LoRA+AOFT†"] == ([1000.0], [(61 + 85) / 2])
    assert shown["LoRA"] == ([294_912.0], pytest.approx([((50 + 53 + 70) / 3 + 81.5) / 2]))
    assert shown["front"] == ([0.0, 1000.0], [45.0, 73.0])  # lora costs more and is no better
    # seed by seed: aoft 70, 76; lora 66, 67 (eurosat has no seed 2); linear has one seed and no bar
    assert sorted(bars(drawing.figure, 1)) == pytest.approx([statistics.stdev([66, 67]), statistics.stdev([70, 76])])
    assert {t.get_text() for t in texts(drawing.figure) if isinstance(t, Annotation)} == {
        "Linear",
        "LoRA+AOFT†",
        "LoRA",
    }
    assert drawing.figure.axes[0].get_ylabel() == "test top-1, mean of 2 tasks (%)"


def test_pareto_front_keeps_no_point_that_another_beats() -> None:
    points = [(2.0, 50.0), (1.0, 50.0), (3.0, 60.0), (3.0, 55.0), (4.0, 60.0), (9.0, 61.0)]
    assert pareto_front(points) == [1, 2, 5]


def test_a_row_without_all_datasets_is_left_out_and_named() -> None:
    (drawing,) = drawn(parameters.plans, [*BOTH, record(99.0, "cifar100", "full")], [])
    assert "full" not in lines(drawing.figure)
    assert "without all datasets, so left out: Full" in drawing.caption


def published_by_hand() -> set[tuple[float, float]]:
    """(parameters, mean of cifar100 and eurosat) of the canonical ViT-B/16 lines of vtab.csv."""
    with (ROOT / "results" / "published" / "vtab.csv").open(newline="") as file:
        found = [line for line in csv.DictReader(file) if line["canonical"] == "1" and line["params_m"]]
    return {
        (round(1e6 * float(line["params_m"])), round((float(line["cifar100"]) + float(line["eurosat"])) / 2, 6))
        for line in found
        if line["backbone"].startswith("ViT-B/16") and line["cifar100"] and line["eurosat"]
    }


def test_published_rows_stand_beside_the_same_tasks_only() -> None:
    (table,) = build_comparisons(BOTH)
    points = published_points(table, load(ROOT / "results").rows)
    assert {(round(x), round(y, 6)) for x, y in points} == published_by_hand()
    (drawing,) = drawn(parameters.plans, BOTH, points)
    assert lines(drawing.figure)["published"] == ([x for x, _ in points], [y for _, y in points])
    assert "published" in [text.get_text() for text in texts(drawing.figure)]
    assert "other protocols" in drawing.caption


@pytest.mark.parametrize(
    "change",
    [
        {"data__official": False, "data__official_note": "a pack"},
        {"metrics__split": "val200", "protocol__name": "tune", "config__protocol__name": "tune"},
        {"config__backbone__timm": "vit_tiny_patch16_224"},
    ],
)
def test_published_rows_stand_beside_no_other_benchmark(change: dict[str, Any]) -> None:
    (table,) = build_comparisons([record(60.0, name, **change) for name in VTAB])
    assert published_points(table, load(ROOT / "results").rows) == []


def test_gain_is_of_the_seeds_that_both_have() -> None:
    (drawing,) = drawn(gain.plans, BOTH)
    # cifar100: 10 and 9 (seed 2 of lora has no partner); eurosat: -2 and 9; the mean of both: 4 and 9
    assert lines(drawing.figure)["LoRA"][0] == [9.5, 3.5, 6.5]
    expected = [statistics.stdev(pair) for pair in ([10, 9], [-2, 9], [4, 9])]
    assert bars(drawing.figure, 0) == pytest.approx(expected)
    labels = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert labels == ["CIFAR-100", "EuroSAT", "mean of 2"]
    assert drawing.name == "gain"
    assert "LoRA+AOFT† minus that of LoRA" in drawing.caption


def test_each_variant_of_aoft_has_its_own_gain() -> None:
    variants = [record(60.0 + rank, "cifar100", "aoft", config__method__rank=rank) for rank in (2, 4)]
    found = drawn(gain.plans, [*variants, record(50.0)])
    assert {d.name: lines(d.figure)["LoRA"][0] for d in found} == {
        "gain-aoft-rank-2": [12.0],
        "gain-aoft-rank-4": [14.0],
    }


def test_curves_are_means_with_a_band_over_seeds() -> None:
    losses = ([4.0, 2.0, 1.0], [5.0, 1.0, 0.5])
    found = [record(50.0, seed=i, curves={"train_loss": loss}) for i, loss in enumerate(losses)]
    found.append(record(50.0, seed=2, curves={"train_loss": [9.0, 9.0]}))  # not all epochs
    (drawing,) = drawn(curves.plans, found)
    assert drawing.name == "curves-loss"
    assert lines(drawing.figure)["LoRA"] == ([1.0, 2.0, 3.0], [4.5, 1.5, 0.75])
    (band,) = [c for c in drawing.figure.axes[0].collections if isinstance(c, FillBetweenPolyCollection)]
    corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(1, 4), (2, 1), (3, 0.5), (1, 5), (2, 2), (3, 1)}
    assert drawing.figure.axes[0].get_yscale() == "log"


def test_accuracy_by_epoch_is_drawn_where_it_is_recorded() -> None:
    found = [record(50.0, curves={"train_loss": [0.0, 0.0, 0.0], "val200_top1": [10.0, 20.0, 30.0]})]
    loss, accuracy = drawn(curves.plans, found)
    assert loss.figure.axes[0].get_yscale() == "linear"  # a loss of 0 has no place on a logarithmic axis
    assert accuracy.name == "curves-val200"
    assert lines(accuracy.figure)["LoRA"][1] == [10.0, 20.0, 30.0]


def test_many_methods_are_drawn_grey_behind_those_that_are_looked_for() -> None:
    methods = [*FEATURED, "ssf", "norm"]
    found = [
        record(50.0, method=name, curves={"train_loss": [3.0, 2.0, float(i + 1)]}) for i, name in enumerate(methods)
    ]
    (drawing,) = drawn(curves.plans, found)
    assert set(lines(drawing.figure)) == set(map(BUILT_IN.method, FEATURED))
    (grey,) = [c for c in drawing.figure.axes[0].collections if c.get_gid() == "others"]
    assert isinstance(grey, LineCollection)
    assert sorted(float(segment[-1, 1]) for segment in grey.get_segments()) == [9.0, 10.0]
    assert "2 other methods" in [text.get_text() for text in texts(drawing.figure)]


def test_many_tasks_are_split_by_group() -> None:
    found = drawn(curves.plans, [record(50.0, name) for name in VTAB])
    panels = {d.name: [axes.get_title() for axes in d.figure.axes if axes.get_visible()] for d in found}
    assert {name: len(titles) for name, titles in panels.items()} == {
        "curves-loss-natural": 7,
        "curves-loss-specialized": 4,
        "curves-loss-structured": 8,
    }
    assert panels["curves-loss-specialized"] == ["Patch Camelyon", "EuroSAT", "Resisc45", "Retinopathy"]


def test_cost_is_that_of_one_machine() -> None:
    gpu = {"hardware__gpu": "NVIDIA H200", "hardware__device": "cuda"}
    found = [
        record(50.0, cost={"train_images_per_second": 80.0, "peak_memory_bytes": 2**30}),
        record(52.0, seed=1, cost={"train_images_per_second": 120.0, "peak_memory_bytes": 3 * 2**30}),
        record(60.0, method="aoft"),
        record(70.0, method="full", **gpu),
        record(71.0, method="linear", **gpu),
        record(72.0, method="ssf", **gpu),
        record(72.0, method="ssf", seed=1),
    ]
    cpu, cuda = drawn(cost.plans, found)
    assert (cpu.name, cuda.name) == ("cost-AMD-EPYC-2-cores-1-thread", "cost-NVIDIA-H200")
    speed, memory = cpu.figure.axes
    shown = {str(line.get_gid()): line for axes in (speed, memory) for line in axes.lines if line.get_gid()}
    assert set(shown) == {"LoRA", "LoRA+AOFT†"} and "several machines: SSF" in cpu.caption
    at = [[float(line.get_xdata()[0]) for line in axes.lines if line.get_gid() == "LoRA"] for axes in (speed, memory)]
    assert at == [[100.0], [3.0]]  # mean speed, largest peak
    assert "no benchmark" in speed.get_xlabel() and "AMD EPYC" in " ".join(t.get_text() for t in texts(cpu.figure))


def test_ranks_are_drawn_to_scale_with_bars_over_groups() -> None:
    (drawing,) = drawn(ranks.plans, ranked())
    shown = lines(drawing.figure)
    x = {name: shown[BUILT_IN.method(name)][0][0] for name in ("aoft", "lora", "linear", "full")}
    inch = x["lora"] - x["aoft"]  # of one rank
    assert (x["linear"] - x["lora"], x["full"] - x["linear"]) == (pytest.approx(inch), pytest.approx(inch))
    # Demšar's table 5: q = 2.569 for four methods, so CD = 2.569 sqrt(4 * 5 / (6 * 6)) = 1.915
    low, high = shown["cd"][0]
    assert (high - low) / inch == pytest.approx(1.915, abs=1e-3)
    groups = [line for line in drawing.figure.axes[0].lines if line.get_gid() == "group"]
    ends = sorted((float(min(line.get_xdata())), float(max(line.get_xdata()))) for line in groups)
    pairs = [("aoft", "lora"), ("lora", "linear"), ("linear", "full")]
    assert ends == [(pytest.approx(x[a] - 0.03), pytest.approx(x[b] + 0.03)) for a, b in pairs]
    levels = [float(line.get_ydata()[0]) for line in groups]
    assert len(set(levels)) == 2  # bars that share an end are not on one level
    assert "CD = 1.91" in [text.get_text() for text in texts(drawing.figure)]


@pytest.mark.parametrize(
    ("plans", "records", "why"),
    [
        (lambda t, k: parameters.plans(t, k, []), [record(50.0)], "one method only"),
        (
            lambda t, k: parameters.plans(t, k, []),
            [record(50.0), record(50.0, "svhn", "aoft")],
            "0 of 2 methods have all",
        ),
        (gain.plans, [record(50.0)], "no AOFT"),
        (gain.plans, [record(50.0, method="aoft")], "no LoRA or Adapter"),
        (gain.plans, [record(50.0), record(50.0, method="aoft", seed=1)], "no dataset and seed in common"),
        (curves.plans, [record(50.0, curves={"train_loss": []})], "no curve"),
        (cost.plans, [record(50.0, cost={}), record(50.0, method="aoft")], "fewer than two methods"),
        (ranks.plans, [record(50.0), record(50.0, method="aoft")], "too few tasks"),
        (ranks.plans, [record(50.0)], "one method only"),
    ],
)
def test_what_would_show_nothing_is_not_drawn(plans: Any, records: list[Any], why: str) -> None:
    with pytest.raises(NothingToDrawError, match=why):
        drawn(plans, records)


def sized(train: int | None, top1: float, method: str = "aoft", seed: int = 0, **changes: Any) -> Any:
    """A record of eurosat, trained on a part of its images or on all 1,000."""
    total = train or 1_000
    drawn = {"rule": 1, "seed": 0, "splits": [], "pool": "ab12", "train": train}
    return record(
        top1,
        "eurosat",
        method,
        seed,
        data__sizes={"train800": total - total // 5, "val200": total // 5, "test": 100},
        data__fingerprint=f"eurosat {train}",
        **({"data__drawn": drawn} if train else {}),
        **changes,
    )


def test_sizes_shows_every_number_of_training_images() -> None:
    records = [
        sized(count, top1 + seed, method, seed)
        for method, by_count in (("aoft", {100: 50.0, 300: 60.0, None: 80.0}), ("lora", {100: 40.0, None: 85.0}))
        for count, top1 in by_count.items()
        for seed in (0, 1)
    ]
    records.append(sized(None, 30.0, "linear"))  # with all images alone
    every = build_comparisons(records)
    (whole,) = [one for one in every if not one.setting.subset]
    assert [one.setting.subset for one in whole.smaller] == ["100 training images", "300 training images"]
    styles = row_styles(whole, method_styles(row.method for row in whole.rows))
    planned = pickle.dumps(sizes.plans(whole, styles))
    assert b"eurosat 100" not in planned  # records stay where they are
    with drawing_style():
        (drawing,) = [plan() for plan in pickle.loads(planned)]
    assert drawing.name == "sizes-eurosat"
    shown = lines(drawing.figure)
    assert shown == {
        "LoRA+AOFT†": ([100.0, 300.0, 1_000.0], [50.5, 60.5, 80.5]),
        "LoRA": ([100.0, 1_000.0], [40.5, 85.5]),
    }
    assert bars(drawing.figure, 1) == pytest.approx([statistics.stdev([0, 1])] * 5)
    assert [tick.get_text() for tick in drawing.figure.axes[0].get_xticklabels()] == ["100", "300", "1,000"]
    (alone,) = build_comparisons([sized(None, 80.0)])
    with pytest.raises(NothingToDrawError, match="the same number of training images"):
        sizes.plans(alone, {})
