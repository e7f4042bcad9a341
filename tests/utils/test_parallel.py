"""Jobs in several processes: results in order, errors, a process that dies, a machine without semaphores."""

import os
import time
from functools import partial
from pathlib import Path

import pytest

from aoft_bench.utils import parallel as processes
from aoft_bench.utils.parallel import cores, run_jobs


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
