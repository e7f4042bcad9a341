"""Jobs run by several processes, where a machine has several cores."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(processes: int, jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run `jobs` in up to so many processes, the calling one among them; returns their results in order.

    Jobs and results must be picklable. A job that fails in another process, or kills it, is run again in the calling
    process, which then raises the job's own exception. Call it from the main thread.
    """
    pool = _pool(processes - 1)
    if pool is None:
        return [job() for job in jobs]
    try:
        with _ignoring_interrupts():
            futures = [pool.submit(job) for job in jobs]
        # a job that no worker has started can still be cancelled; this process runs it meanwhile
        own = {index: jobs[index]() for index, future in enumerate(futures) if future.cancel()}
        return [
            own[index] if index in own else job() if future.exception() else future.result()
            for index, (job, future) in enumerate(zip(jobs, futures, strict=True))
        ]
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(processes: int) -> Executor | None:
    """Worker processes; None for none, and where the system has no semaphores, as in some containers."""
    if processes < 1:
        return None
    try:
        return ProcessPoolExecutor(processes, multiprocessing.get_context("fork" if _has_one_thread() else "spawn"))
    except (ImportError, NotImplementedError, OSError):
        return None


def _has_one_thread() -> bool:
    """Whether this process has no other threads, which numpy and torch start: these do not survive a fork."""
    threads = Path("/proc/self/task")
    return threads.is_dir() and len(list(threads.iterdir())) == 1


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Workers that are started within ignore Ctrl-C; the main process handles it and stops them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
