"""Figures from records that are written here: what is drawn is what they hold, and files are the same every time."""

import csv
import dataclasses
import hashlib
import json
import os
import pickle
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from matplotlib.collections import FillBetweenPolyCollection, LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text

from aoft_bench.data.tasks import TASKS
from aoft_bench.figures import cost, curves, gain, parameters, ranks
from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.fonts import WHOLE, families
from aoft_bench.figures.names import LONGEST, slug, stem
from aoft_bench.figures.series import FAMILIES, FEATURED, Styles, method_styles, row_styles
from aoft_bench.figures.style import drawing_style, new_figure, save
from aoft_bench.figures.text import legend_below, printable, text_width, wrapped
from aoft_bench.figures.ticks import short_number
from aoft_bench.figures.values import NothingToDrawError, pareto_front, published_points
from aoft_bench.figures.write import FEWEST, write_figures
from aoft_bench.records.files import record_path, write_record
from aoft_bench.records.identity import record_hash
from aoft_bench.results.collect import collect
from aoft_bench.results.published import load
from aoft_bench.results.settings import Comparison, build_comparisons

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "aoft_bench.cli.figures"
VTAB = [name for name, task in TASKS.items() if task.suite == "vtab1k"]


def record(top1: float, dataset: str = "cifar100", method: str = "lora", seed: int = 0, **changes: Any) -> Any:
    """A record that `collect` takes, top1 of 10,000 images; `changes` are by path, with __ for the dot."""
    made: dict[str, Any] = {
        "schema": 1,
        "backbone": "vit_b16_in21k",
        "method": method,
        "dataset": dataset,
        "seed": seed,
        "protocol": {"name": "clean"},
        "metrics": {"split": "test", "top1": top1, "correct": round(100 * top1), "total": 10_000},
        "curves": {"train_loss": [4.0, 2.0, 1.0]},
        "parameters": {"trained": 294_912, "head": 76_900},
        "data": {
            "fingerprint": hashlib.sha256(dataset.encode()).hexdigest(),
            "source": "tfds",
            "official": True,
            "official_note": "",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "weights": {"sha256": "a" * 64, "source": "vit_base_patch16_224.orig_in21k"},
        "precision": "fp32",
        "cost": {"train_images_per_second": 100.0, "peak_memory_bytes": 2**30},
        "hardware": {"device": "cpu", "gpu": None, "cpu": "AMD EPYC", "cores": 2, "threads": 1},
        "config": {
            "dataset": {"name": dataset},
            "data": {"interpolation": "bicubic", "normalization": "half"},
            "backbone": {"name": "vit_b16_in21k", "timm": "vit_base_patch16_224.orig_in21k", "img_size": 224},
            "method": {"name": method},
            "recipe": {"epochs": 3, "batch_size": 64, "lr": 1e-3, "warmup_epochs": None},
            "protocol": {"name": "clean"},
            "trainer": {},
            "seed": seed,
        },
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = made
        for parent in parents:
            node = node[parent]
        node[last] = value
    made["hash"] = record_hash(made)
    return json.loads(json.dumps(made))


def write(root: Path, records: list[Any]) -> None:
    for one in records:
        names = (one[name] for name in ("backbone", "method", "dataset", "seed", "hash"))
        write_record(record_path(root, *names), one)


def setting(records: list[Any]) -> tuple[Comparison, Styles]:
    (table,) = build_comparisons(records)
    return table, row_styles(table, method_styles(row.method for row in table.rows))


def drawn(plans: Callable[..., list[Plan]], records: list[Any], *more: Any) -> list[Drawing]:
    """The figures, planned and drawn as if by another process."""
    planned = pickle.dumps(plans(*setting(records), *more))
    assert records[0]["data"]["fingerprint"].encode() not in planned  # records, which are large, stay where they are
    with drawing_style():
        return [plan() for plan in pickle.loads(planned)]


def lines(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    """(x, y) of every named line."""
    return {
        str(line.get_gid()): (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in figure.findobj(Line2D)
        if isinstance(line, Line2D) and line.get_gid()
    }


def bars(figure: Figure, axis: int, panel: int = 0) -> list[float]:
    """Half lengths of the error bars in one panel, in the order they were drawn; axis: 0 of x, 1 of y."""
    found = [c for c in figure.axes[panel].collections if isinstance(c, LineCollection)]
    return [float(np.ptp(segment[:, axis])) / 2 for c in found for segment in c.get_segments()]


def texts(figure: Figure) -> list[Text]:
    """All text that shows; matplotlib also holds labels of ticks beyond the ends of an axis."""
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            beyond |= {id(tick.label1) for tick in ticks if not axes.get_visible() or not low <= tick.get_loc() <= high}
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text() and text.get_visible()]
    return [text for text in found if id(text) not in beyond and (text.axes is None or text.axes.get_visible())]


BOTH = [
    record(60.0, "cifar100", "aoft", 0, parameters__trained=1_000),
    record(62.0, "cifar100", "aoft", 1, parameters__trained=1_000),
    record(80.0, "eurosat", "aoft", 0, parameters__trained=1_000),
    record(90.0, "eurosat", "aoft", 1, parameters__trained=1_000),
    record(50.0, "cifar100", "lora", 0),
    record(53.0, "cifar100", "lora", 1),
    record(70.0, "cifar100", "lora", 2),
    record(82.0, "eurosat", "lora", 0),
    record(81.0, "eurosat", "lora", 1),
    record(40.0, "cifar100", "linear", 0, parameters__trained=0),
    record(50.0, "eurosat", "linear", 0, parameters__trained=0),
]


def test_parameters_shows_means_spread_and_front() -> None:
    (drawing,) = drawn(parameters.plans, BOTH, [])
    shown = lines(drawing.figure)
    assert shown["linear"] == ([0.0], [45.0])
    assert shown["aoft"] == ([1000.0], [(61 + 85) / 2])
    assert shown["lora"] == ([294_912.0], pytest.approx([((50 + 53 + 70) / 3 + 81.5) / 2]))
    assert shown["front"] == ([0.0, 1000.0], [45.0, 73.0])  # lora costs more and is no better
    # seed by seed: aoft 70, 76; lora 66, 67 (eurosat has no seed 2); linear has one seed and no bar
    assert sorted(bars(drawing.figure, 1)) == pytest.approx([statistics.stdev([66, 67]), statistics.stdev([70, 76])])
    assert {t.get_text() for t in texts(drawing.figure) if isinstance(t, Annotation)} == {"linear", "aoft"}
    assert drawing.figure.axes[0].get_ylabel() == "test top-1, mean of 2 tasks (%)"


def test_pareto_front_keeps_no_point_that_another_beats() -> None:
    points = [(2.0, 50.0), (1.0, 50.0), (3.0, 60.0), (3.0, 55.0), (4.0, 60.0), (9.0, 61.0)]
    assert pareto_front(points) == [1, 2, 5]


def test_a_row_without_all_datasets_is_left_out_and_named() -> None:
    (drawing,) = drawn(parameters.plans, [*BOTH, record(99.0, "cifar100", "full")], [])
    assert "full" not in lines(drawing.figure)
    assert "without all datasets, so left out: full" in drawing.caption


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
    points = published_points(table, load(ROOT / "results"))
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
    assert published_points(table, load(ROOT / "results")) == []


def test_gain_is_of_the_seeds_that_both_have() -> None:
    (drawing,) = drawn(gain.plans, BOTH)
    # cifar100: 10 and 9 (seed 2 of lora has no partner); eurosat: -2 and 9; the mean of both: 4 and 9
    assert lines(drawing.figure)["lora"][0] == [9.5, 3.5, 6.5]
    expected = [statistics.stdev(pair) for pair in ([10, 9], [-2, 9], [4, 9])]
    assert bars(drawing.figure, 0) == pytest.approx(expected)
    labels = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert labels == ["cifar100", "eurosat", "mean of 2"]
    assert drawing.name == "gain"
    assert "aoft minus that of lora" in drawing.caption


def test_each_variant_of_aoft_has_its_own_gain() -> None:
    variants = [record(60.0 + rank, "cifar100", "aoft", config__method__rank=rank) for rank in (2, 4)]
    found = drawn(gain.plans, [*variants, record(50.0)])
    assert {d.name: lines(d.figure)["lora"][0] for d in found} == {
        "gain-aoft-rank-2": [12.0],
        "gain-aoft-rank-4": [14.0],
    }


def test_curves_are_means_with_a_band_over_seeds() -> None:
    losses = ([4.0, 2.0, 1.0], [5.0, 1.0, 0.5])
    found = [record(50.0, seed=i, curves={"train_loss": loss}) for i, loss in enumerate(losses)]
    found.append(record(50.0, seed=2, curves={"train_loss": [9.0, 9.0]}))  # not all epochs
    (drawing,) = drawn(curves.plans, found)
    assert drawing.name == "curves-loss"
    assert lines(drawing.figure)["lora"] == ([1.0, 2.0, 3.0], [4.5, 1.5, 0.75])
    (band,) = [c for c in drawing.figure.axes[0].collections if isinstance(c, FillBetweenPolyCollection)]
    corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(1, 4), (2, 1), (3, 0.5), (1, 5), (2, 2), (3, 1)}
    assert drawing.figure.axes[0].get_yscale() == "log"


def test_accuracy_by_epoch_is_drawn_where_it_is_recorded() -> None:
    found = [record(50.0, curves={"train_loss": [0.0, 0.0, 0.0], "val200_top1": [10.0, 20.0, 30.0]})]
    loss, accuracy = drawn(curves.plans, found)
    assert loss.figure.axes[0].get_yscale() == "linear"  # a loss of 0 has no place on a logarithmic axis
    assert accuracy.name == "curves-val200"
    assert lines(accuracy.figure)["lora"][1] == [10.0, 20.0, 30.0]


def test_many_methods_are_drawn_grey_behind_those_that_are_looked_for() -> None:
    methods = [*FEATURED, "ssf", "norm"]
    found = [
        record(50.0, method=name, curves={"train_loss": [3.0, 2.0, float(i + 1)]}) for i, name in enumerate(methods)
    ]
    (drawing,) = drawn(curves.plans, found)
    assert set(lines(drawing.figure)) == set(FEATURED)
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
    assert panels["curves-loss-specialized"] == ["patch_camelyon", "eurosat", "resisc45", "retinopathy"]


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
    assert set(shown) == {"lora", "aoft"} and "several machines: ssf" in cpu.caption
    at = [[float(line.get_xdata()[0]) for line in axes.lines if line.get_gid() == "lora"] for axes in (speed, memory)]
    assert at == [[100.0], [3.0]]  # mean speed, largest peak
    assert "no benchmark" in speed.get_xlabel() and "AMD EPYC" in " ".join(t.get_text() for t in texts(cpu.figure))


def ranked(**changes: Any) -> list[Any]:
    """Six tasks on which aoft is always first, lora second, linear third and full last."""
    tops = {"aoft": 80.0, "lora": 70.0, "linear": 60.0, "full": 50.0}
    return [record(top + i, name, method, **changes) for i, name in enumerate(VTAB[:6]) for method, top in tops.items()]


def test_ranks_are_drawn_to_scale_with_bars_over_groups() -> None:
    (drawing,) = drawn(ranks.plans, ranked())
    shown = lines(drawing.figure)
    x = {name: shown[name][0][0] for name in ("aoft", "lora", "linear", "full")}
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


def crowded() -> list[Any]:
    """All methods that have a marker of their own and three that have none, close together, two labels long."""
    methods = [name for members in FAMILIES.values() for name in members] + ["mine", "yours", "theirs"]
    found = [
        record(50.0 + (i * 7 % 23), name, method, parameters__trained=i * 3_000, hardware__threads=None)
        for i, method in enumerate(methods)
        for name in VTAB[:6]
    ]
    options = {"config__method__targets": ["q", "k", "v", "proj", "fc1", "fc2"], "config__method__note": "x" * 90}
    return found + [record(90.0, name, "aoft", **options) for name in VTAB[:6]]


@pytest.mark.parametrize(
    "plans", [lambda t, k: parameters.plans(t, k, []), gain.plans, curves.plans, cost.plans, ranks.plans]
)
def test_all_text_is_legible_and_inside(plans: Any) -> None:
    for drawing in drawn(plans, crowded()):
        figure = drawing.figure
        with drawing_style():
            figure.draw_without_rendering()
        whole = figure.bbox
        assert figure.get_figwidth() == 3.3
        for text in texts(figure):
            box = text.get_window_extent()
            assert text.get_fontsize() >= 7
            assert whole.x0 - 2 <= box.x0 and box.x1 <= whole.x1 + 2, text.get_text()
            assert whole.y0 - 2 <= box.y0 and box.y1 <= whole.y1 + 2, text.get_text()


def test_names_of_points_do_not_touch() -> None:
    (drawing,) = drawn(parameters.plans, crowded(), [])
    names = [text for text in texts(drawing.figure) if isinstance(text, Annotation)]
    with drawing_style():
        drawing.figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in names]
    assert len(boxes) >= 2
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_method_looks_the_same_whatever_is_beside_it() -> None:
    everything = method_styles([*FEATURED, "ssf", "mine", "yours"])
    assert method_styles(["yours"])["yours"] == everything["yours"]
    assert method_styles(["aoft", "ssf"]) == {name: everything[name] for name in ("aoft", "ssf")}
    known = method_styles(name for members in FAMILIES.values() for name in members)
    assert len({(style.color, style.marker) for style in known.values()}) == len(known)
    assert len({known[name].marker for name in FEATURED}) == len(FEATURED)  # told apart without colour


def test_strangers_do_not_share_a_marker() -> None:
    strangers = method_styles(f"method{i}" for i in range(13))
    assert len({style.marker for style in strangers.values()}) == 13


def test_variants_of_a_method_differ_in_filling_and_line() -> None:
    _, styles = setting([record(50.0, config__method__rank=rank) for rank in (1, 2, 4)])
    assert len({(style.color, style.marker) for style in styles.values()}) == 1
    assert len({style.fill for style in styles.values()}) == len({str(style.line) for style in styles.values()}) == 3


def test_text_breaks_where_it_is_too_wide() -> None:
    assert wrapped("one, two", 3.0) == "one, two"
    broken = wrapped("aoft (constant=paper, init=zero)" + "y" * 60, 1.0)
    assert "".join(broken.split()) == "aoft(constant=paper,init=zero)" + "y" * 60
    assert max(text_width(line) for line in broken.split("\n")) <= 1.0
    assert broken.split("\n")[:2] == ["aoft", "(constant=paper,"]


def test_any_label_can_be_drawn() -> None:
    assert printable("λ† 模") == "λ† \N{REPLACEMENT CHARACTER}"
    with drawing_style():
        figure = new_figure(1.0)
        figure.add_subplot().set_title("costs $1, $2 \\frac{")
        legend_below(figure, [Line2D([], [], label="模型 $x_{$")])
        figure.draw_without_rendering()  # no warning, no mathematics


def test_the_small_font_draws_the_same(tmp_path: Path) -> None:
    label = "aoft† λ = −1.5, AV fi 模 и"  # kerned, a ligature, one letter that neither font has and one that it lacks
    for name, fonts in (("whole", (WHOLE,)), ("small", families())):
        with drawing_style(fonts), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the missing letter
            figure = new_figure(1.0)
            figure.add_subplot().set_title(label)
            save(figure, tmp_path / name)
    assert (tmp_path / "whole.png").read_bytes() == (tmp_path / "small.png").read_bytes()
    assert Path(findfont(families()[0])).stat().st_size < Path(findfont(WHOLE)).stat().st_size / 5


def test_numbers_of_axes_are_plain() -> None:
    assert [short_number(v) for v in (0.0005, 0, 1.5, 500, 12_000, 5.5e6, 2e9)] == [
        "0.0005",
        "0",
        "1.5",
        "500",
        "12k",
        "5.5M",
        "2G",
    ]


def test_each_part_of_a_setting_changes_the_names() -> None:
    (table,) = build_comparisons([record(50.0)])
    names = {stem(table)}
    for field in dataclasses.fields(table.setting):
        value = getattr(table.setting, field.name)
        other = not value if isinstance(value, bool) else (0.0,) if isinstance(value, tuple) else type(value)("7")
        names.add(stem(dataclasses.replace(table, setting=dataclasses.replace(table.setting, **{field.name: other}))))
    assert len(names) == 1 + len(dataclasses.fields(table.setting))
    assert stem(table).startswith("vtab1k-vit_b16_in21k-clean-224px-3ep-")
    assert slug("../a b/c: λ") == "a-b-c" and len(slug("x" * 500)) == LONGEST


PROGRAM = (
    "import runpy, sys\n"
    "try:\n    from aoft_bench.cli import main; sys.exit(main(['figures', 'results']))\n"
    "except SystemExit as stopped:\n    assert not stopped.code, stopped.code\n"
    "heavy = {'torch', 'timm', 'wandb', 'pytorch_lightning', 'hydra', 'tensorflow'} & set(sys.modules)\n"
    "assert not heavy, heavy\n"
)


def run(folder: Path, program: str = PROGRAM, **environment: str) -> dict[str, bytes]:
    """The files that the command writes in a process of its own; it must not import torch."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": os.environ.get("HOME", ""), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in (folder / "results" / "figures").iterdir()}


def test_files_are_the_same_every_time(tmp_path: Path) -> None:
    found = ranked()
    write(tmp_path / "one" / "results", found)
    write(tmp_path / "two" / "results", found[::-1])
    style_of_the_machine = tmp_path / "matplotlibrc"
    style_of_the_machine.write_text("font.size: 20\npdf.fonttype: 3\nsavefig.dpi: 50\n")
    first = run(tmp_path / "one", SOURCE_DATE_EPOCH="1", PYTHONHASHSEED="1")
    second = run(tmp_path / "two", MATPLOTLIBRC=str(style_of_the_machine), PYTHONHASHSEED="2")
    assert first == second
    kinds = {name.partition("3ep-")[2][7:] for name in first}
    expected = {
        f"{kind}.{end}" for kind in ("parameters", "gain", "curves-loss", "cost", "ranks") for end in ("pdf", "png")
    }
    assert kinds == {*expected, ""}  # and README.md
    for name, content in first.items():
        if name.endswith(".pdf"):
            assert b"/FontFile2" in content and b"/Type3" not in content  # TrueType, embedded
            assert b"CreationDate" not in content and b"matplotlib" not in content.lower()
        if name.endswith(".png"):
            assert b"Software" not in content and b"Matplotlib" not in content


def test_several_processes_write_the_same_files(tmp_path: Path) -> None:
    found = [*ranked(), *ranked(config__backbone__img_size=112)]
    written = []
    for processes in (1, 2):
        root = tmp_path / str(processes)
        write(root, found)
        assert write_figures(root, collect(root), processes) >= 2 * FEWEST
        written.append({path.name: path.read_bytes() for path in (root / "figures").iterdir()})
    assert written[0] == written[1]


def test_scipy_is_imported_for_a_diagram_only(tmp_path: Path) -> None:
    """It takes as long as three figures."""
    write(tmp_path / "results", BOTH)
    run(tmp_path, program=PROGRAM + "assert 'scipy' not in sys.modules\n")


def test_the_page_shows_every_figure_and_says_what_is_missing(cli: Command, tmp_path: Path) -> None:
    write(tmp_path / "results", BOTH)
    assert cli("results", module=COMMAND).code == 0
    folder = tmp_path / "results" / "figures"
    page = (folder / "README.md").read_text()
    (table,) = build_comparisons(BOTH)
    for kind in ("parameters", "gain", "curves-loss", "cost"):
        assert f"]({stem(table)}-{kind}.png)" in page and (folder / f"{stem(table)}-{kind}.pdf").is_file()
    assert "Not drawn: ranks (too few tasks)." in page


def test_figures_that_are_not_drawn_any_more_are_removed(cli: Command, tmp_path: Path) -> None:
    root = tmp_path / "results"
    write(root, [record(50.0), record(60.0, method="aoft")])
    assert cli("results", module=COMMAND).code == 0
    mine = root / "figures" / "mine.pdf"
    mine.write_bytes(b"")
    assert [path for path in (root / "figures").glob("*gain.pdf")]
    for path in (root / "records").rglob("aoft/**/*.json"):
        path.unlink()
    assert cli("results", module=COMMAND).code == 0
    assert not [path for path in (root / "figures").glob("*gain.*")]
    assert mine.is_file() and len(list((root / "figures").glob("*curves-loss.png"))) == 1


def test_a_damaged_record_is_named_and_left_out(cli: Command, tmp_path: Path) -> None:
    root = tmp_path / "results"
    write(root, [record(50.0), record(60.0, seed=1, curves={"train_loss": [9.0, 9.0, 9.0]})])
    damaged = next((root / "records").rglob("seed1-*.json"))
    damaged.write_text(damaged.read_text()[:300])
    result = cli("results", module=COMMAND)
    assert result.code == 0
    assert result.err.count("\n") == 1 and damaged.name in result.err
    page = (root / "figures" / "README.md").read_text()
    assert f"records/vit_b16_in21k/lora/cifar100/{damaged.name}" in page and str(tmp_path) not in page
    (drawing,) = drawn(curves.plans, collect(root).records)
    assert lines(drawing.figure)["lora"][1] == [4.0, 2.0, 1.0]


def test_no_folder_and_no_records_end_in_one_line(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "wrong"):
        result = cli(name, module=COMMAND)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
        assert f"no records below {name}/records; run a cell first" in result.err
        assert not (tmp_path / name / "figures").exists()


def test_figures_that_cannot_be_written_end_in_one_line(cli: Command, tmp_path: Path) -> None:
    root = tmp_path / "results"
    write(root, [record(50.0)])
    (root / "figures").write_text("a file where the folder should be")
    result = cli("results", module=COMMAND)
    assert result.code == 2
    assert result.err.count("\n") == 1 and "cannot write" in result.err
