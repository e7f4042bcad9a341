"""Every figure is legible, and a method looks the same in all of them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_records import crowded, drawn, record, setting, texts
from matplotlib.axes import Axes
from matplotlib.font_manager import findfont
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from aoft_bench.figures import cost, curves, gain, parameters, ranks
from aoft_bench.figures.drawing import Drawing
from aoft_bench.figures.fonts import WHOLE, families
from aoft_bench.figures.points import NAMED
from aoft_bench.figures.series import FAMILIES, FEATURED, method_styles
from aoft_bench.figures.style import drawing_style, new_figure, save
from aoft_bench.figures.text import LONGEST, legend_below, printable, text_width, wrapped
from aoft_bench.figures.ticks import short_number
from aoft_bench.results.titles import BUILT_IN

ROOT = Path(__file__).resolve().parents[2]

FIGURES = {
    "parameters": lambda comparison, styles: parameters.plans(comparison, styles, []),
    "gain": gain.plans,
    "curves": curves.plans,
    "cost": cost.plans,
    "ranks": ranks.plans,
}


@pytest.fixture(scope="module")
def full() -> dict[str, list[Drawing]]:
    """Each figure of all methods, with their layout settled."""
    found = {name: drawn(plans, crowded()) for name, plans in FIGURES.items()}
    with drawing_style():
        for drawing in (drawing for some in found.values() for drawing in some):
            drawing.figure.draw_without_rendering()
    return found


@pytest.mark.parametrize("name", FIGURES)
def test_all_text_is_legible_and_inside(full: dict[str, list[Drawing]], name: str) -> None:
    for drawing in full[name]:
        whole = drawing.figure.bbox
        assert drawing.figure.get_figwidth() == 3.3
        for text in texts(drawing.figure):
            box = text.get_window_extent()
            assert text.get_fontsize() >= 7
            assert whole.x0 - 2 <= box.x0 and box.x1 <= whole.x1 + 2, text.get_text()
            assert whole.y0 - 2 <= box.y0 and box.y1 <= whole.y1 + 2, text.get_text()


def test_names_of_points_do_not_touch(full: dict[str, list[Drawing]]) -> None:
    (drawing,) = full["parameters"]
    boxes = [text.get_window_extent() for text in texts(drawing.figure) if isinstance(text, Annotation)]
    assert len(boxes) >= 2
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def places(axes: Axes) -> np.ndarray:
    """Where the marks of a plot of points stand, in points."""
    marks = [line for line in axes.lines if line.get_gid() not in (None, "front", "published")]
    return np.array([line.get_transform().transform(line.get_xydata())[0] for line in marks]) * 72 / 300


@pytest.mark.parametrize("name", ["parameters", "cost"])
def test_no_point_hides_another_and_no_legend_is_taller_than_its_plot(
    full: dict[str, list[Drawing]], name: str
) -> None:
    (drawing,) = full[name]
    (legend,) = drawing.figure.legends
    for axes in drawing.figure.axes:
        at = places(axes)
        assert len(at) > NAMED
        between = np.linalg.norm(at[:, None] - at[None], axis=-1) + 99 * np.eye(len(at))
        assert between.min() > 3.4, "marks have 3.5 points"
    plot = sum(axes.get_window_extent().height for axes in drawing.figure.axes)
    assert legend.get_window_extent().height < plot


@pytest.mark.parametrize("plans", [FIGURES["parameters"], FIGURES["cost"]])
def test_up_to_twelve_points_have_their_names_beside_them(plans: Any) -> None:
    methods = [*FEATURED, "ssf", "norm", "bitfit", "vpt_deep"]
    found = [record(50.0 + i // 3, method=name, parameters__trained=1000 * (i // 4)) for i, name in enumerate(methods)]
    (drawing,) = drawn(plans, found)
    with drawing_style():
        drawing.figure.draw_without_rendering()
    for axes in drawing.figure.axes:
        names = [child for child in axes.get_children() if isinstance(child, Annotation)]
        assert sorted(text.get_text() for text in names) == sorted(map(BUILT_IN.method, methods))
        boxes = [text.get_window_extent() for text in names]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert "moved sideways" in drawing.caption


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


def test_legends_are_in_the_order_of_the_table() -> None:
    found = [record(50.0, method=name, parameters__trained=1000 * i) for i, name in enumerate(FEATURED)]
    comparison, styles = setting(found)
    assert list(styles) == [row.label for row in comparison.rows] == list(map(BUILT_IN.method, FEATURED))


def test_text_breaks_where_it_is_too_wide() -> None:
    assert wrapped("one, two", 3.0) == "one, two"
    broken = wrapped("aoft (constant=paper, init=zero)" + "y" * 60, 1.0)
    assert "".join(broken.split()) == "aoft(constant=paper,init=zero)" + "y" * 60
    assert max(text_width(line) for line in broken.split("\n")) <= 1.0
    assert broken.split("\n")[:2] == ["aoft", "(constant=paper,"]
    cut = wrapped("x" * 3000, 3.1)  # it took 20 minutes when each width was tried
    assert cut.replace("\n", "") == "x" * (LONGEST - 1) + "…"
    assert 1.5 < max(map(text_width, cut.split("\n"))) <= 3.1


def test_any_label_can_be_drawn() -> None:
    assert printable("λ† 模") == "λ† \N{REPLACEMENT CHARACTER}"
    with drawing_style():
        figure = new_figure(1.0)
        figure.add_subplot().set_title("costs $1, $2 \\frac{")
        legend_below(figure, [Line2D([], [], label="模型 $x_{$")])
        figure.draw_without_rendering()  # no warning, no mathematics


@pytest.mark.slow
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
