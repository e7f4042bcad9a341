"""Who does what, among processes that share folders: one prepares a task while the others wait, one runs a cell.

The locks are the system's own (flock), so that they are free again whenever their process dies, and no clock is
compared with another's. They save work; nothing depends on them: what is written appears in one step, and what two
processes would write is the same. So a file system without working locks is taken as it is.
"""

import contextlib
import errno
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_PATIENCE = 2.0  # seconds before a waiting process says why nothing happens
_GLANCE = 0.1  # seconds; `is_held` holds a lock for less
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def preparing(what: str, path: Path) -> Iterator[None]:
    """Hold the lock file `path`, made with its folder, while `what` is prepared; others wait, and say so.

    Raises `OSError` where the file cannot be made.
    """
    with _waited_for(path, f"another process is preparing {what}; waiting for it"):
        yield


@contextlib.contextmanager
def claim(path: Path, what: str, *, wait: bool) -> Iterator[bool]:
    """Try to be the only process that does `what`; False if another one does, unless `wait` waits for its end.

    Raises `OSError` where the lock file cannot be made.
    """
    if wait:
        with _waited_for(path, f"another process runs {what}; waiting for it"):
            yield True
        return
    if is_held(path):
        time.sleep(_GLANCE)  # it may have been a glance of another process
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_held(path, 0))
        except Timeout:
            yield False
        else:
            yield True


def is_held(path: Path) -> bool:
    """Whether a process holds this lock now; False where there is no such file, or no locks."""
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
            stack.enter_context(_held(path, _PATIENCE))
        except Timeout:
            print(f"aoft_bench: {text}", file=sys.stderr, flush=True)
            stack.enter_context(_held(path, -1))
        yield


@contextlib.contextmanager
def _held(path: Path, timeout: float) -> Iterator[None]:
    """The lock, or `Timeout` after so many seconds (-1: never)."""
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
