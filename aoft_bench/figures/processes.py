"""Jobs done by several processes, where a machine has several cores."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
_CONTEXT = multiprocessing.get_context("spawn")  # threads, which numpy may have, do not survive a fork


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def done_by(processes: int, jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of `jobs` in their order; they are started in it, by up to so many processes, this one among them.

    Jobs and results must be picklable. What no other process reports is done here, so that a process that dies costs
    time only and the exception of a job is raised here. Call it from the main thread.
    """
    results: dict[int, Result] = {}
    if processes > 1 and (next_job := _shared_number()) is not None:
        with _helpers(processes - 1, jobs, next_job) as pipes:
            for index in _taken(next_job, len(jobs)):
                results[index] = jobs[index]()
            for pipe in pipes:
                results.update(_received(pipe))
    return [results[index] if index in results else job() for index, job in enumerate(jobs)]


def _shared_number() -> "Synchronized[int] | None":
    """0, for all processes to read and write; None on a machine that has no semaphores, as some containers."""
    try:
        return _CONTEXT.Value("i", 0)
    except (ImportError, OSError):
        return None


@dataclass(frozen=True)
class _Helper:
    process: Any
    pipe: Connection


@contextmanager
def _helpers(
    count: int, jobs: Sequence[Callable[[], Any]], next_job: "Synchronized[int]"
) -> Iterator[list[Connection]]:
    """Processes that do jobs until none is left; the pipes on which they report."""
    helpers: list[_Helper] = []
    with tempfile.TemporaryDirectory() as folder:
        # in a file, since a pipe would hold this process up until a helper has imported everything and reads
        path = Path(folder) / "jobs"
        path.write_bytes(pickle.dumps(jobs))
        try:
            with _deaf():
                for _ in range(count):
                    ours, theirs = _CONTEXT.Pipe(duplex=False)
                    process = _CONTEXT.Process(target=_help, args=(path, next_job, theirs), daemon=True)
                    process.start()
                    theirs.close()  # so that `ours` ends when the process does
                    helpers.append(_Helper(process, ours))
            yield [helper.pipe for helper in helpers]
        finally:
            next_job.value = len(jobs)
            for helper in helpers:
                helper.pipe.close()  # first, for a process may wait for somebody to read
                helper.process.join()


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are started in here ignore Ctrl-C: this one hears it, and tells them to stop."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _help(path: Path, next_job: "Synchronized[int]", pipe: Connection) -> None:
    # what goes wrong here goes wrong again, and is told, where the job is done again
    with contextlib.suppress(Exception), pipe:
        jobs = pickle.loads(path.read_bytes())
        for index in _taken(next_job, len(jobs)):
            pipe.send((index, jobs[index]()))


def _taken(next_job: "Synchronized[int]", count: int) -> Iterator[int]:
    """Numbers of jobs that no process has taken yet."""
    while True:
        with next_job.get_lock():
            index = next_job.value
            next_job.value = index + 1
        if index >= count:
            return
        yield index


def _received(pipe: Connection) -> Iterator[tuple[int, Any]]:
    with contextlib.suppress(EOFError, OSError):
        while True:
            yield pipe.recv()
