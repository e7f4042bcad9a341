"""Locks between processes that share folders, so that each task is prepared once and each cell is run once.

The locks are the kernel's (flock): a lock is free again when its process dies, and no clocks are compared. They save
work, but results do not depend on them, since files are written atomically and two processes would write the same
content. A file system without locks is therefore accepted.
"""

import contextlib
import errno
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_SILENT_SECONDS = 2.0  # a process that waits longer prints why
_PROBE_SECONDS = 0.1  # `is_held` holds a lock for less than this
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def preparing(what: str, path: Path) -> Iterator[None]:
    """Hold the lock file `path` while `what` is prepared. Other processes wait, and print that they do.

    Raises `OSError` if the lock file or its folder cannot be created.
    """
    with _waited_for(path, f"another process is preparing {what}; waiting for it"):
        yield


@contextlib.contextmanager
def claim(path: Path, what: str, *, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path` while `what` is run. Yields whether this process holds the lock.

    If another process holds it, wait for it to end (`wait=True`) or yield False. Raises `OSError` if the lock file
    cannot be created.
    """
    if wait:
        with _waited_for(path, f"another process runs {what}; waiting for it"):
            yield True
        return
    if is_held(path):
        time.sleep(_PROBE_SECONDS)  # it may have been held by `is_held` in another process
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_held(path, 0))
        except Timeout:
            yield False
        else:
            yield True


def is_held(path: Path) -> bool:
    """Return whether a process holds this lock now. False if there is no such file, or no support for locks."""
    if not path.is_file():
        return False
    try:
        with _held(path, 0):
            return False
    except Timeout:
        return True


@contextlib.contextmanager
def _waited_for(path: Path, text: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_held(path, _SILENT_SECONDS))
        except Timeout:
            print(f"aoft_bench: {text}", file=sys.stderr, flush=True)
            stack.enter_context(_held(path, -1))
        yield


@contextlib.contextmanager
def _held(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock. Raises `Timeout` after `timeout` seconds; -1 waits without limit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except NotImplementedError:
        pass
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()
