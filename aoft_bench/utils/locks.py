"""Locks between processes that share folders, so that each task is prepared once and each cell is run once.

The locks are the kernel's (flock): a lock is free again when its process dies, and no clocks are compared. They save
work, but results do not depend on them, since files are written atomically and two processes would write the same
content. A file system without locks is therefore accepted.
"""

import contextlib
import errno
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from aoft_bench.utils.errors import UserError

_SILENT_SECONDS = 2.0  # a process that waits longer prints why
_PROBE_SECONDS = 0.1  # `is_held` in another process keeps a lock from this one for less than this
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def preparing(what: str, path: Path) -> Iterator[None]:
    """Hold the lock file `path` while `what` is prepared. Other processes wait, and print that they do.

    Raises `OSError` if the lock file or its folder cannot be created, and `UserError` if what is there is no lock file
    of this user.
    """
    with _waited_for(path, f"another process is preparing {what}; waiting for it"):
        yield


@contextlib.contextmanager
def claim(path: Path, what: str, *, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path` while `what` is run. Yields whether this process holds the lock.

    If another process holds it, wait for it to end (`wait=True`) or yield False. Raises as `preparing` does.
    """
    if wait:
        with _waited_for(path, f"another process runs {what}; waiting for it"):
            yield True
        return
    if is_held(path):  # first, since another user's lock can be looked at, but not taken
        yield False
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_held(path, _PROBE_SECONDS))
        except Timeout:
            yield False
        else:
            yield True


def is_held(path: Path) -> bool:
    """Return whether a process holds this lock now, of this user or of another.

    False if there is no such file, or no support for locks. A file that may not be read counts as held.
    """
    if path.is_symlink() or not path.is_file():
        return False
    try:
        file = path.open("rb")
    except FileNotFoundError:  # its process has just ended
        return False
    except PermissionError:
        return True
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _NO_LOCKS
    return False


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
    if path.is_symlink() or (path.exists() and not path.is_file()):  # a link's target is nobody's to write to
        kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no ordinary file"
        raise UserError(f"{path} must be a lock file, but is {kind}; move it away and run again")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except NotImplementedError:
        pass
    except PermissionError:
        if not path.exists():
            raise
        state = "whose process is running; wait for it" if is_held(path) else "whose process is gone; have it deleted"
        raise UserError(f"the lock {path} is another user's, {state}, and run again") from None
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()
