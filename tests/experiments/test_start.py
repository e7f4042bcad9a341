"""What a run says before it trains, in a log while it does, and where in its sweep it is."""

import os
from pathlib import Path

import pytest
from conftest import call, words

from aoft_bench.experiments import start
from aoft_bench.experiments.start import busy_line
from aoft_bench.experiments.sweep import PLANNED, Job, note, place, plan
from aoft_bench.training import progress as training_progress
from aoft_bench.utils import progress_bar
from aoft_bench.utils.progress_bar import in_words, progress


def test_a_run_says_what_it_will_do_and_how_far_it_is(
    nano_pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "LOG_EVERY", 0)
    monkeypatch.setattr(training_progress, "FIRST", 0)
    monkeypatch.setattr(start, "LONG", 0)
    monkeypatch.setattr(start, "busy_line", lambda *_: "busy")
    monkeypatch.setattr(start, "_said", set())
    shown = {"trainer.progress": "lines", "recipe.batch_size": "16", "recipe.epochs": "2"}
    result = call(*words(nano_pack | shown, method="bitfit"), cwd=tmp_path)
    assert result.code == 0
    (record,) = (tmp_path / "results").rglob("*.json")
    label = "bitfit · folder · vit_nano · seed 0"
    _, _, said = result.err.partition(f"{label}: ")  # before it images may have been prepared
    lines = f"{label}: {said}".splitlines()
    assert lines[0] == f"{label}: 2 epochs of 32 images (train800val200), 4 steps; then 20 test images, once"
    assert lines[1].startswith("  on the CPU, fp32, 1 thread; weights ") and lines[1].endswith("); no logger")
    assert lines[2].startswith("  data: folder (not the official split: ")
    assert lines[3] == f"  record: {record.relative_to(tmp_path)}"
    assert (
        lines[4].startswith("  training on this CPU may take about ") and "experiment=quick without dataset" in lines[4]
    )
    assert lines[5] == "  busy"
    steps = [line for line in lines[6:] if ", step " in line]
    assert [line.partition(", step ")[0] for line in steps] == [f"{label}: epoch {epoch}/2" for epoch in (1, 1, 2, 2)]
    assert all(" images/s, " in line and line.endswith(" s left") for line in steps)
    assert f"{label}: epoch 2/2, loss " in lines[-2] and lines[-1] == f"{label}: scoring, 20 of 20 images"


def test_the_estimate_leaves_a_run_as_it_is(nano_pack: dict[str, str], tmp_path: Path) -> None:
    trained = []
    for shown in ("none", "lines"):
        options = {"trainer.progress": shown, "results.root": shown, "recipe.mlp_dropout": "0.5"}
        assert call(*words(nano_pack | options, method="aoft"), cwd=tmp_path).code == 0
        (record,) = (tmp_path / shown).rglob("*.json")
        trained.append(record.with_suffix(".safetensors").read_bytes())
    assert trained[0] == trained[1]


@pytest.mark.parametrize(
    ("load", "threads", "said"), [(2.9, 2, False), (3.0, 2, True), (8.1, 1, False), (8.1, 2, True)]
)
def test_a_busy_machine_is_one_on_which_others_compute(load: float, threads: int, said: bool) -> None:
    assert ("trainer.threads=1" in busy_line(load, 2, threads)) == said


def test_place_in_a_sweep_and_the_time_left(tmp_path: Path) -> None:
    plan(tmp_path, 8)
    assert place(tmp_path, 0) == "1 of 8"
    started = (tmp_path / PLANNED).stat().st_mtime - 120
    os.utime(tmp_path / PLANNED, (started, started))
    note(tmp_path, 0, Job([], "done"))
    note(tmp_path, 1, Job([], "failed"))
    assert place(tmp_path, 2) == "3 of 8, about 6 min left"


def test_long_work_on_images_has_a_line_now_and_then_in_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    with progress("preparing it", 100) as advance:
        for seconds in (10, 29, 31, 40, 60, 62):
            now[0] = seconds
            advance(10)
    assert capsys.readouterr().err.splitlines() == ["preparing it: 30 of 100", "preparing it: 60 of 100"]


def test_a_time_in_words() -> None:
    said = [in_words(seconds) for seconds in (0, 89, 90, 3600, 7 * 3600 + 290)]
    assert said == ["0 s", "89 s", "2 min", "1 h 00 min", "7 h 05 min"]
