"""Jobs done by several processes, where a machine has several cores."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def done_by(processes: int, jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of `jobs` in their order; they are started in it, by up to so many processes, this one among them.

    Jobs and results must be picklable. What another process failed to do, or died of, is done again here, so that the
    exception of a job is raised here. Call it from the main thread.
    """
    pool = _pool(processes - 1)
    if pool is None:
        return [job() for job in jobs]
    try:
        with _deaf():
            futures = [pool.submit(job) for job in jobs]
        # a job that no other process has taken yet can be cancelled there, and is done here meanwhile
        here = {index: jobs[index]() for index, future in enumerate(futures) if future.cancel()}
        return [
            here[index] if index in here else job() if future.exception() else future.result()
            for index, (job, future) in enumerate(zip(jobs, futures, strict=True))
        ]
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(processes: int) -> Executor | None:
    """Other processes; None if there are to be none, or on a machine that has no semaphores, as some containers."""
    if processes < 1:
        return None
    try:
        # threads, which numpy may have, do not survive a fork
        return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    except (ImportError, NotImplementedError, OSError):
        return None


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are started in here ignore Ctrl-C: this one hears it, and tells them to stop."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
