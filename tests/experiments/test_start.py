"""What a run says before it trains, in a log while it does, and where in its sweep it is."""

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import call, words

from aoft_bench.experiments import start
from aoft_bench.experiments.start import busy_line
from aoft_bench.experiments.sweep import PLANNED, Job, note, place, plan
from aoft_bench.training import progress as training_progress
from aoft_bench.training.frozen_cache import FrozenCache
from aoft_bench.training.progress import RunProgress
from aoft_bench.utils import progress_bar
from aoft_bench.utils.progress_bar import in_words, progress


def test_a_run_says_what_it_will_do_and_how_far_it_is(
    nano_pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _often(monkeypatch)
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
    assert steps and all(line.startswith(f"{label}: epoch ") for line in steps)
    assert all(" images/s, " in line and line.endswith(" s left") for line in steps)
    assert [line[: len(label) + 18] for line in lines if ", loss " in line] == [
        f"{label}: epoch {epoch}/2, loss " for epoch in (1, 2)
    ]


def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line in a log as often as can be."""
    monkeypatch.setattr(progress_bar, "LOG_EVERY", 0)
    monkeypatch.setattr(progress_bar, "POLL", 0.001)


def test_a_log_has_lines_while_frozen_activations_are_computed(
    nano_pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _often(monkeypatch)
    computed = FrozenCache._seen

    def slowly(*given: Any) -> Any:
        time.sleep(0.05)
        return computed(*given)

    monkeypatch.setattr(FrozenCache, "_seen", slowly)
    shown = {"trainer.progress": "lines", "recipe.epochs": "2"}
    result = call(*words(nano_pack | shown, method="linear"), cwd=tmp_path)
    assert result.code == 0
    assert "linear · folder · vit_nano · seed 0: frozen activations, 0 of 32 images\n" in result.err


def test_a_first_step_that_takes_long_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(training_progress.time, "monotonic", lambda: now[0])
    shown = RunProgress("lines", "cell", images=10, epochs=2)
    shown.on_train_start(SimpleNamespace(current_epoch=0), None)
    try:
        assert shown._line() == ""
        now[0] = 95
        assert shown._line() == "cell: in its first step for 2 min"
        batch = (None, [0] * 5)
        shown.on_train_batch_end(SimpleNamespace(current_epoch=0, num_training_batches=2), None, None, batch, 0)
        now[0] = 150  # inside the second step, of which nothing is known yet
        assert shown._line() == "cell: epoch 1/2, step 1/2, 0.1 images/s, 5 min left"
    finally:
        shown.on_exception()
    assert shown.lines is None


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


def test_long_work_on_images_has_lines_in_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _often(monkeypatch)
    seen, end = "", time.monotonic() + 10
    with progress("preparing it", 100) as advance:
        advance(10)
        advance(20)
        while "30 of 100\n" not in seen and time.monotonic() < end:
            seen += capsys.readouterr().err
    assert seen.splitlines()[-1] == "preparing it: 30 of 100"
    assert "log lines" not in {thread.name for thread in threading.enumerate()}


def test_a_time_in_words() -> None:
    said = [in_words(seconds) for seconds in (0, 89, 90, 3600, 7 * 3600 + 290)]
    assert said == ["0 s", "89 s", "2 min", "1 h 00 min", "7 h 05 min"]
