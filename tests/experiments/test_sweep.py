"""Sweeps: each cell once, whoever runs it; failures named and gone past; how far a sweep is."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import call, words
from hydra.plugins.sweeper import Sweeper

import aoft_bench.experiments.run as run_module
from aoft_bench.cli.status import CellStatus, time_left
from aoft_bench.cli.status import summary as summary_of_cells
from aoft_bench.data import tasks
from aoft_bench.experiments.sweep import Job, records_of, summary
from aoft_bench.experiments.work import Work
from aoft_bench.records.files import read_record
from aoft_bench.records.unfinished import note_failure, read_notes, remove_finished
from aoft_bench.utils.locks import claim, is_held

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pack(nano_pack: dict[str, str]) -> dict[str, str]:
    return nano_pack | {"recipe.batch_size": "12"}


def start(options: list[str], folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "aoft_bench", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(folder: Path) -> list[Path]:
    return sorted((folder / "results/records").rglob("*.json"))


def files(folder: Path, ending: str) -> list[Path]:
    return sorted(path for path in (folder / "results").rglob(f"*{ending}") if path.is_file())


@pytest.mark.slow
def test_workers_that_race_for_cells_do_each_once(pack: dict[str, str], tmp_path: Path) -> None:
    """Three processes with the same sweep of three cells; each counts what it did itself."""
    options = ["-m", *words(pack, method="linear,lora,adapter", recipe__epochs="30")]
    racing = [start(options, tmp_path) for _ in range(3)]
    done = 0
    for process in racing:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        (counts,) = [line for line in out.splitlines() if line.startswith("3 cells: ")]
        done += sum(
            int(part.split()[0]) for part in counts.removeprefix("3 cells: ").split(", ") if part[1:] == " done"
        )
    assert done == 3
    assert [path.parent.parent.name for path in records(tmp_path)] == ["adapter", "linear", "lora"]
    assert not files(tmp_path, ".ckpt") and not files(tmp_path, ".worker.json")


@pytest.mark.slow
def test_a_single_cell_waits_for_the_process_that_runs_it(pack: dict[str, str], tmp_path: Path) -> None:
    options = words(pack, method="lora", recipe__epochs="60")
    with start(options, tmp_path) as first:
        while not files(tmp_path, ".ckpt"):
            assert first.poll() is None
            time.sleep(0.05)
        with start(options, tmp_path) as second:
            out, err = second.communicate(timeout=600)
            assert second.returncode == 0
        first.communicate(timeout=600)
    assert "another process runs lora" in err and "done before" in out
    assert len(records(tmp_path)) == 1


def test_a_sweep_leaves_a_cell_to_the_process_that_runs_it(pack: dict[str, str], tmp_path: Path) -> None:
    options = pack | {"method": "linear"}
    assert call(*words(options), cwd=tmp_path).code == 0
    (record,) = records(tmp_path)
    lock = tmp_path / "results/unfinished" / record.relative_to(tmp_path / "results/records").with_suffix(".lock")
    record.unlink()
    with claim(lock, "it", wait=False) as mine:
        assert mine
        result = call("-m", *words(options), cwd=tmp_path)
    assert result.code == 0
    assert "runs in another process" in result.out and "1 cell: 1 running in other processes" in result.out
    assert not records(tmp_path)
    assert "1 cell: 1 done" in call("-m", *words(options), cwd=tmp_path).out


def crash(*_: Any, **__: Any) -> Any:
    raise RuntimeError("CUDA out of memory\nmore of it")


def test_a_failed_cell_is_recorded_and_the_sweep_goes_on(
    pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = run_module.fit

    def fit_or_crash(job: Any, *args: Any, **kwargs: Any) -> Any:
        return (crash if type(job.adapted.handle.method).__name__ == "LoRA" else fit)(job, *args, **kwargs)

    monkeypatch.setattr(run_module, "fit", fit_or_crash)
    options = ["-m", *words(pack, method="lora,linear,full", recipe__lr="1e-3")]
    result = call(*options, cwd=tmp_path)
    assert result.code == 2
    assert "3 cells: 2 done, 1 failed" in result.err and "RuntimeError: CUDA out of memory" in result.err
    assert "Traceback" not in result.err
    assert len(records(tmp_path)) == 2
    (path,) = files(tmp_path / "results/failures", ".json") or (tmp_path / "results/failures").rglob("*.json")
    failure: Any = read_notes(path)
    assert failure["error"] == "RuntimeError: CUDA out of memory\nmore of it"
    assert 'raise RuntimeError("CUDA out of memory' in failure["traceback"]
    assert "method=lora" in failure["command"] and not failure["explained"]
    told = call("status", *options[1:], cwd=tmp_path)
    assert "3 cells: 2 █ done, 1 ✗ failed" in told.out
    monkeypatch.undo()
    again = call(*options, cwd=tmp_path)
    assert again.code == 0 and "3 cells: 1 done, 2 done before" in again.out
    assert not path.exists()


def test_a_mistake_of_the_user_in_one_cell(pack: dict[str, str], tmp_path: Path) -> None:
    result = call("-m", *words(pack, method="full", recipe__lr="1e30,1e-3", recipe__epochs="2"), cwd=tmp_path)
    assert result.code == 2
    assert "2 cells: 1 done, 1 failed" in result.err and "the training loss is" in result.err
    assert "full" in result.out  # the other one's line


FOLDERS = {
    "quoted": ["hydra.sweep.dir='out puts/it\\'s mine'"],
    "of each cell": ["hydra.sweep.dir=outputs/${seed}/${dataset.name}"],
    "with a cell's": ["hydra.job.chdir=true", "hydra.sweep.subdir=${hydra.job.num}", "hydra/launcher=basic"],
    "used before": ["hydra.sweep.dir=outputs/used", "hydra.sweeper.max_batch_size=1"],
}


def test_how_a_sweep_ends_does_not_depend_on_how_its_folder_is_written(tmp_path: Path, nano: dict[str, str]) -> None:
    options = words(nano, method="linear", dataset="folder", data__root=str(tmp_path / "nowhere"), seed="0,1")
    (tmp_path / "outputs/used").mkdir(parents=True)
    (tmp_path / "outputs/used/1.json").write_text('{"overrides": [], "outcome": "done"}')  # of an earlier sweep
    for name, folder in FOLDERS.items():
        result = call("-m", *options, *folder, cwd=tmp_path)
        assert (name, result.code) == (name, 2), result.err
        assert "2 cells: 2 failed" in result.err and "Traceback" not in result.err, name
    (tmp_path / "file").touch()
    result = call("-m", *options, "hydra.sweep.dir=file", cwd=tmp_path)
    assert result.code == 2 and "cannot write the notes of a sweep to " in result.err and result.err.count("\n") == 1


def test_a_sweep_begins_when_one_cell_of_each_choice_is_composed(
    tmp_path: Path, nano: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell that cannot be composed for what its files say together fails alone."""
    composed: list[int] = []
    validate = Sweeper.validate_batch_is_legal

    def counting(sweeper: Sweeper, batch: list[list[str]]) -> None:
        composed.append(len(batch))
        validate(sweeper, batch)

    monkeypatch.setattr(Sweeper, "validate_batch_is_legal", counting)
    (tmp_path / "conf/hparams/norm").mkdir(parents=True)
    (tmp_path / "conf/hparams/norm/digits.yaml").write_text("recipe: [1")
    options = words(nano, method="linear,norm", dataset="folder,digits", data__root=str(tmp_path / "nowhere"))
    result = call("-m", "-cd", str(tmp_path / "conf"), *options, "results.mode=only-cached", cwd=tmp_path)
    assert result.code == 2 and "4 cells: 4 failed" in result.err and "Traceback" not in result.err
    (broken,) = [line for line in result.err.splitlines() if "method=norm dataset=digits" in line and "  " in line]
    assert "hparams/norm/digits.yaml" in broken
    monkeypatch.setattr("aoft_bench.experiments.launchers.serial.launch", lambda sweep, cells, options: [])
    result = call("-m", *words(nano, method="linear,norm", dataset="digits,dtd", seed="range(500)"), cwd=tmp_path)
    assert result.code == 2 and "2,000 cells: 2,000 missing" in result.err
    assert composed == [3, 3]


def test_a_crash_of_a_single_cell_shows_where(
    pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "fit", crash)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        call(*words(pack, method="linear"), cwd=tmp_path)
    assert len(list((tmp_path / "results/failures").rglob("*.json"))) == 1


def test_two_versions_of_the_code_do_not_write_one_folder(pack: dict[str, str], tmp_path: Path) -> None:
    place = tmp_path / "results/unfinished/b/m/d"
    place.mkdir(parents=True)
    worker = {"host": "node7", "pid": 4711, "version": "0.0.1", "code": "feedfeedfeedfeed"}
    (place / "seed0-0123456789.worker.json").write_text(json.dumps(worker))
    options = words(pack, method="linear")
    with claim(place / "seed0-0123456789.lock", "it", wait=False):
        result = call(*options, cwd=tmp_path)
        assert result.code == 2
        assert "another version of the code writes to results: process 4711 on node7 runs 0.0.1" in result.err
        assert not records(tmp_path)
    assert call(*options, cwd=tmp_path).code == 0  # it was only left by a process that was killed


def test_clocks_do_not_matter(pack: dict[str, str], tmp_path: Path) -> None:
    """A record from tomorrow is done; a lock of last year is free, one that is held is not, whatever its time."""
    options = words(pack, method="linear")
    assert call(*options, cwd=tmp_path).code == 0
    (record,) = records(tmp_path)
    tomorrow = record.stat().st_mtime + 86_400
    os.utime(record, (tomorrow, tomorrow))
    assert "done before" in call(*options, cwd=tmp_path).out
    lock = tmp_path / "some.lock"
    with claim(lock, "it", wait=False):
        os.utime(lock, (0, 0))
        assert is_held(lock)
    lock.touch()
    os.utime(lock, (tomorrow, tomorrow))
    assert not is_held(lock)


def test_what_a_killed_process_left_is_removed(pack: dict[str, str], tmp_path: Path) -> None:
    options = words(pack, method="linear")
    assert call(*options, cwd=tmp_path).code == 0
    (record,) = records(tmp_path)
    unfinished = tmp_path / "results/unfinished" / record.parent.relative_to(tmp_path / "results/records")
    left = [record.with_name(f"{record.name}.0123abcd.partial"), unfinished / f"{record.stem}.ckpt.4567abcd.partial"]
    record.unlink()
    for path in left:
        path.write_text("half")
    assert call(*options, cwd=tmp_path).code == 0
    assert not any(path.exists() for path in left)
    # killed after the record was written; a checkpoint that is newer is of a run with results.mode=force
    left = [unfinished / f"{record.stem}.{kind}" for kind in ("ckpt", "worker.json", "lock")]
    left.append(tmp_path / "results/failures" / record.relative_to(tmp_path / "results/records"))
    left[-1].parent.mkdir(parents=True)
    for path in left:
        path.write_text("{}")
    for seconds, stays in ((+1, True), (-1, False)):
        time_of_checkpoint = record.stat().st_mtime + seconds
        os.utime(left[0], (time_of_checkpoint, time_of_checkpoint))
        with claim(left[2], "it", wait=False):
            remove_finished(tmp_path / "results")
        assert all(path.exists() for path in left), "a process runs the cell"
        assert "done before" in call(*options, cwd=tmp_path).out
        assert [path.exists() for path in left] == [stays] * 4


def test_a_cell_done_again_by_force_has_one_record(pack: dict[str, str], tmp_path: Path) -> None:
    options = words(pack, method="linear")
    call(*options, cwd=tmp_path)
    before = read_record(records(tmp_path)[0])
    result = call("-m", *options, "results.mode=force", cwd=tmp_path)
    assert result.code == 0 and "1 cell: 1 done" in result.out
    after = read_record(records(tmp_path)[0])
    assert after["metrics"] == before["metrics"] and after["cost"] != before["cost"]


def test_the_grid_of_a_sweep(pack: dict[str, str], tmp_path: Path) -> None:
    options = words(pack, method="linear,lora", seed="0,1,2")
    assert call("-m", *words(pack, method="linear", seed="0,2"), cwd=tmp_path).code == 0
    result = call("status", *options, cwd=tmp_path)
    assert result.code == 0
    assert [line.split("│")[1:3] for line in result.out.splitlines() if "│" in line] == [
        [" linear ", " █·█    "],
        [" lora   ", " ···    "],
    ]
    assert "6 cells: 2 █ done, 4 · missing" in result.out
    assert re.search(r"time left: about \d{1,2} s for one worker", result.out)

    # without a cache it cannot be said of which cells the records are
    told = call("status", *options, f"data.cache={tmp_path}/none", cwd=tmp_path)
    assert "│ linear │ ?·?    │" in told.out and "6 cells: 4 · missing, 2 ? unknown (a record of this" in told.out
    assert "6 of them: data not prepared: what is done" in told.out
    failure = tmp_path / "results" / "failures" / "vit_nano" / "lora" / "folder" / "seed7-0123456789.json"
    note_failure(failure, "lora · folder · seed 7", "", {}, OSError("no space\nat all"))
    lines = call("status", cwd=tmp_path).out.splitlines()
    assert lines[0] == "cells in results: 2 done, 1 failed"
    assert lines[3].split() == ["Linear", "2", "cells:", "folder", "x", "2"]
    assert "  lora · folder · seed 7: OSError: no space" in lines
    failure.unlink()

    # the record of another cell is none of this one, whoever reads it
    first, third = records(tmp_path)
    first.write_bytes(third.read_bytes())
    wrong = f"is not in its place, records/vit_nano/linear/folder/{third.name}"
    told = call("status", *words(pack, method="linear", seed="0,2"), cwd=tmp_path)
    assert "2 cells: 1 █ done, 1 ✗ failed" in told.out and wrong in told.out
    again = call(*words(pack, method="linear", seed="0"), cwd=tmp_path)
    assert again.code == 2 and wrong in again.err and "replace it by results.mode=force" in again.err
    first.unlink()
    first.mkdir()  # found before training, not at its end
    again = call(*words(pack, method="linear", seed="0"), cwd=tmp_path)
    assert again.code == 2 and "a folder is in its place" in again.err and not list(tmp_path.rglob("*.ckpt"))
    first.rmdir()
    first.write_bytes(third.read_bytes())
    found, left_out = records_of([Job([], "skipped", str(path)) for path in (first, third)])
    assert [made["seed"] for made in found] == [2] and len(left_out) == 1 and wrong in left_out[0]


def test_the_grid_of_a_sweep_whose_data_is_missing(nano: dict[str, str], tmp_path: Path) -> None:
    options = words(nano, method="linear", dataset="folder", data__root=str(tmp_path / "nowhere"))
    result = call("status", *options, cwd=tmp_path)
    assert result.code == 0
    assert "1 cell: 1 · missing" in result.out and "1 of them: " in result.out and "nowhere" in result.out


def test_the_grid_of_a_sweep_file(nano: dict[str, str], tmp_path: Path) -> None:
    """Datasets downwards where there are more of them than methods; nothing is written."""
    words = ["-cd", str(ROOT / "sweeps"), "-cn", "embedded", "seed=0", "method=linear,lora"]
    result = call(
        "status",
        *words,
        f"results.root={tmp_path}/none",
        f"data.cache={tmp_path}/cache",
        cwd=tmp_path,
    )
    assert result.code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.out.splitlines() if "│" in line]
    assert len(rows) == 4 and ["digits", "·", "·"] in rows
    assert "8 cells: 8 · missing" in result.out
    assert not list(tmp_path.iterdir())


WITHOUT_TORCH = """
import re, sys
from pathlib import Path
from aoft_bench.cli import main
assert main(sys.argv[1:]) == 0
heavy = {"torch", "timm", "wandb", "pytorch_lightning"} & sys.modules.keys()
(kilobytes,) = re.findall(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
print(heavy or "none", int(kilobytes) < 250_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the most memory from /proc")
def test_the_status_of_thousands_of_cells_needs_no_torch(tmp_path: Path) -> None:
    arguments = ["status", "dataset=digits", "backbone=vit_b16_in21k", "trainer=cpu", "seed=range(1000)"]
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.stdout.decode().endswith("none True\n") and b"1,000 cells: 1,000 " in done.stdout, done.stderr


def test_wrong_words_of_status(tmp_path: Path) -> None:
    result = call("status", "-cn", "vtab2k", cwd=ROOT)
    assert result.code == 2 and "vtab1k" in result.err and "Traceback" not in result.err
    result = call("status", "-cn", "demo", "recipe.lrr=1,2", cwd=ROOT)
    assert result.code == 2 and "recipe" in result.err and "lr" in result.err


def test_time_left_is_that_of_cells_alike() -> None:
    done = [
        CellStatus("lora", "dtd", 0, "done", 10.0),
        CellStatus("lora", "dtd", 1, "done", 20.0),
        CellStatus("full", "dtd", 0, "done", 90.0),
    ]
    left = [
        CellStatus("lora", "dtd", 2, "missing"),  # 15: as its own kind
        CellStatus("full", "svhn", 0, "running"),  # 90: as its method
        CellStatus("ssf", "dtd", 0, "failed"),  # 40: as all
    ]
    assert time_left(done + left) == 15 + 90 + 40
    assert time_left(left) is None
    many = [CellStatus(f"method {n}", "dtd", 0, "done", float(n)) for n in range(4000)]
    more = [CellStatus(f"method {n}", "dtd", 1, "missing") for n in range(4000)]
    start = time.process_time()
    assert time_left(many + more) == sum(range(4000))
    assert time.process_time() - start < 1  # comparing each with each takes longer
    assert "unknown until the first cell is done" in summary_of_cells(left)
    assert "time left: about 2 min for one worker" in summary_of_cells(done + left)


def test_problems_of_a_sweep_are_one_line() -> None:
    left = [
        CellStatus("lora", name, 0, "missing", problem=f"no data for {name}: get it")
        for name in ("dtd", "pets", "pets")
    ]
    assert summary_of_cells(left[:1]).splitlines()[-1] == "1 of them: no data for dtd: get it"
    assert summary_of_cells(left).splitlines()[-1] == "3 of them: no data for pets (2), no data for dtd (1)"


def test_what_is_left_to_compute_and_to_get() -> None:
    cells = [
        CellStatus("lora", "dtd", 0, "done", 10.0, work=Work(1, 2, 3)),
        CellStatus("lora", "dtd", 1, "missing", lacks=("data", "weights"), work=Work(32_000, 1_000_000, 1_880)),
        CellStatus("lora", "cub", 1, "stopped", lacks=("data",), work=Work(1, 2, 3)),
        CellStatus("lora", "mine", 1, "missing"),
    ]
    _, _, work, *lines = summary_of_cells(cells).splitlines()
    assert work.startswith("to compute: 32,001 steps on 1,000,002 images, and 1,883 images to score, without 1 cell")
    assert [line.split()[0] for line in lines] == ["dtd:", "cub:", "`aoft-bench", "weights:"]
    assert "`aoft-bench prepare dataset=dtd` gets the originals" in lines[0] and "from their authors" in lines[1]
    every = [CellStatus("lora", name, 0, "missing", lacks=("data",)) for name in tasks("vtab1k")]
    assert summary_of_cells(every).splitlines()[2].startswith("  vtab1k: `aoft-bench prepare dataset=vtab1k`")


def test_a_summary_names_what_failed_and_what_is_missing() -> None:
    jobs = [Job(["seed=0"], "done"), Job(["seed=1"], "failed", problem="disk full"), Job(["seed=2"], "missing")]
    assert summary(jobs).splitlines() == [
        "3 cells: 1 done, 1 failed, 1 missing",
        "  failed: [seed=1] disk full",
        "  missing: [seed=2]",
    ]
    many = [Job([f"seed={n}"], "missing") for n in range(100)]
    assert len(summary(many).splitlines()) == 22 and "... and 80 more missing" in summary(many)


@pytest.mark.parametrize("arguments", [["method=lora", "--cfg", "job"], ["--cfg", "job"]])
def test_flags_may_follow_the_overrides(arguments: list[str], tmp_path: Path) -> None:
    result = call(*arguments, cwd=tmp_path)
    assert result.code == 0 and "recipe:" in result.out, result.err
    assert not list(tmp_path.iterdir())
