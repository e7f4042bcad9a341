"""One process at a time prepares a task; the others wait and say so."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_PATIENCE = 2.0  # seconds before a waiting process says why nothing happens


@contextlib.contextmanager
def preparing(what: str, path: Path) -> Iterator[None]:
    """Hold the lock file `path`, made with its folder, while `what` is prepared; free again if this process dies.

    Raises `OSError` where the file cannot be made. A file system without locks is taken as it is: what is written
    appears in one step, so that two at once only do the same work twice.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    with contextlib.suppress(NotImplementedError):
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:
            print(f"aoft_bench: another process is preparing {what}; waiting for it", file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
