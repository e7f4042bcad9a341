"""The figures made from predictions show the numbers of `results`, and hold no predictions themselves."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from prediction_cases import drawn, lay_down, record_of
from report_records import write

from aoft_bench.figures import agreement, confusion, reliability
from aoft_bench.figures.drawing import Drawing
from aoft_bench.figures.series import FEATURED, method_styles, row_styles
from aoft_bench.figures.style import drawing_style
from aoft_bench.figures.values import NothingToDrawError
from aoft_bench.results.collect import collect
from aoft_bench.results.image_statistics import agreement as share
from aoft_bench.results.kept import Kept
from aoft_bench.results.settings import build_comparisons

RUNS = {(method, seed): drawn(10 * len(method) + seed, 2000, 8, 4.0) for method in ("aoft", "lora") for seed in (0, 1)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predicted")
    for (method, seed), made in RUNS.items():
        lay_down(folder, record_of(made, method, seed=seed, data__classes=8), made)
    return folder


def planned(plans: Any, root: Path, kept: Kept) -> Drawing:
    (comparison,) = build_comparisons(collect(root).records, None, kept)
    styles = row_styles(comparison, method_styles(row.method for row in comparison.rows))
    content = pickle.dumps(plans(comparison, styles))
    assert len(content) < 10_000  # as it is sent to another process: numbers, no predictions
    (plan,) = pickle.loads(content)
    with drawing_style():
        drawing: Drawing = plan()
        drawing.figure.draw_without_rendering()
    for text in drawing.figure.findobj(match=lambda artist: hasattr(artist, "get_fontsize")):
        assert text.get_fontsize() >= 7
    return drawing


def picture(drawing: Drawing) -> np.ndarray:
    (image,) = (one for one in drawing.figure.axes[0].findobj(AxesImage))
    return np.asarray(image.get_array())


def test_reliability_shows_the_bins(root: Path) -> None:
    drawing = planned(reliability.plans, root, Kept(root))
    lines = {line.get_gid(): line for line in drawing.figure.axes[0].findobj(Line2D) if line.get_gid()}
    assert set(lines) == {"LoRA+AOFT†", "LoRA"} and drawing.name == "reliability-digits"
    runs = [RUNS["aoft", seed] for seed in (0, 1)]
    confidence = np.concatenate([run.confidence for run in runs])
    right = np.concatenate([run.correct for run in runs])
    last = confidence > 14 / 15
    assert lines["LoRA+AOFT†"].get_xdata()[-1] == pytest.approx(confidence[last].mean(), abs=1e-5)
    assert lines["LoRA+AOFT†"].get_ydata()[-1] == pytest.approx(right[last].mean(), abs=1e-9)


@pytest.mark.parametrize("module", [agreement, confusion, reliability])
def test_rows_without_predictions_take_no_place(root: Path, tmp_path: Path, module: Any) -> None:
    """Eight rows that are looked for first kept none; two others did."""
    write(tmp_path, [record_of(RUNS["lora", 0], method, data__classes=8) for method in FEATURED])
    for method in ("ssf", "bitfit"):
        for seed in (0, 1):
            made = RUNS["lora", seed]
            lay_down(tmp_path, record_of(made, method, seed=seed, data__classes=8), made)
    assert planned(module.plans, tmp_path, Kept(tmp_path)).name == f"{module.__name__.rpartition('.')[2]}-digits"


def test_confusion_shows_shares_of_the_true_class(root: Path) -> None:
    shown = picture(planned(confusion.plans, root, Kept(root))) ** 2
    assert shown.sum(1) == pytest.approx(100)
    of_class = [run.correct[run.label == 3] for run in (RUNS["aoft", 0], RUNS["aoft", 1])]
    assert shown[3, 3] == pytest.approx(100 * np.concatenate(of_class).mean())


def test_agreement_shows_every_pair(root: Path) -> None:
    shown = picture(planned(agreement.plans, root, Kept(root)))
    ours, theirs = ([RUNS[method, seed] for seed in (0, 1)] for method in ("aoft", "lora"))
    assert shown == pytest.approx(np.array([[share(ours), share(ours, theirs)], [share(ours, theirs), share(theirs)]]))


@pytest.mark.parametrize("module", [agreement, confusion, reliability])
def test_without_predictions_there_is_nothing_to_draw(root: Path, module: Any) -> None:
    with pytest.raises(NothingToDrawError, match="no predictions"):
        planned(module.plans, root, Kept())
