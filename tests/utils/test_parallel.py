"""Figures drawn by several processes: results in order, and a helper that dies or Ctrl-C cost no figure and no file."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from aoft_bench.utils import parallel as processes
from aoft_bench.utils.parallel import cores, run_jobs

ROOT = Path(__file__).resolve().parents[2]


def meet(folder: Path, number: int) -> tuple[int, int]:
    """(number, process); no process ends its first job before another one has begun one."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    return number, os.getpid()


def die_elsewhere(folder: Path, parent: int, number: int) -> int:
    """number, in the process `parent`, once another one has begun a job and died of it."""
    if os.getpid() != parent:
        (folder / "died").touch()
        os._exit(1)
    end = time.monotonic() + 60
    while not (folder / "died").exists() and time.monotonic() < end:
        time.sleep(0.01)
    return number


def fail(number: int) -> int:
    raise ValueError(f"job {number}")


def test_results_are_in_order_whoever_made_them(tmp_path: Path) -> None:
    results = run_jobs(2, [partial(meet, tmp_path, i) for i in range(5)])
    assert [number for number, _ in results] == list(range(5))
    assert len({process for _, process in results}) == 2


def test_one_process_starts_no_other() -> None:
    assert run_jobs(1, [os.getpid] * 3) == run_jobs(0, [os.getpid] * 3) == [os.getpid()] * 3
    assert cores() >= 1


@pytest.mark.parametrize("error", [ImportError, NotImplementedError, OSError])
def test_a_machine_without_semaphores_does_all_in_one_process(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*args: object) -> None:
        raise error("no semaphores")

    monkeypatch.setattr(processes, "ProcessPoolExecutor", none)
    assert run_jobs(2, [os.getpid] * 3) == [os.getpid()] * 3


def test_what_a_process_that_dies_had_taken_is_done_here(tmp_path: Path) -> None:
    assert run_jobs(2, [partial(die_elsewhere, tmp_path, os.getpid(), i) for i in range(3)]) == [0, 1, 2]
    assert (tmp_path / "died").exists()


@pytest.mark.parametrize("failing", [0, 5], ids=["of a job another process takes", "of a job done here"])
def test_an_error_of_a_job_is_raised_here(failing: int) -> None:
    jobs = [partial(fail if i == failing else abs, i) for i in range(6)]
    with pytest.raises(ValueError, match=f"^job {failing}$"):
        run_jobs(2, jobs)


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_leaves_whole_files(tmp_path: Path) -> None:
    from figure_records import ranked, write  # with matplotlib, which the processes of the other tests do not need

    backbones = ("vit_b16_in21k", "vit_l16", "vit_s16", "vit_ti16")
    write(
        tmp_path / "results",
        [one for name in backbones for one in ranked(backbone=name, config__backbone__name=name)],
    )
    command = (
        "import aoft_bench.cli.figures as m; m.cores = lambda: 2; "
        "from aoft_bench.cli import main; raise SystemExit(main(['figures']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        end = time.monotonic() + 120
        while len(list((tmp_path / "results").glob("figures/*.pdf"))) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "aoft_bench: interrupted; files are whole, some are of the call before"
    assert not list((tmp_path / "results" / "figures").glob("*.partial"))
    while time.monotonic() < end:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process is left")
