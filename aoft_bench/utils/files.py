"""Atomic writing: a file or a folder appears complete or not at all. Reading of regular files only."""

import contextlib
import errno
import os
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from aoft_bench.utils.errors import UserError


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading bytes.

    Raises `OSError` for a folder, a pipe, a socket or a device: reading these could wait for ever, or never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def user_path(text: str | Path, option: str) -> Path:
    """Return the path that the user gave as `option`, with ~ replaced by the home folder.

    Raises `UserError` for a user that does not exist, or has no home folder, as in some containers.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        whose = Path(text).parts[0]
        known = "set HOME, or " if whose == "~" else ""
        raise UserError(f"{option}={text}: {whose} has no home folder here; {known}give the path in full") from None


def check_writable(path: Path, what: str = "results", option: str = "results.root=DIR") -> None:
    """Raise `UserError` if a file at `path` could not be written. Called before training, which takes long.

    what: the content, in words; option: what gives another folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", buffering=0) as file:
            file.write(bytes(4096))  # a full disk still makes empty files
            in_the_way = path.is_dir() and not path.is_symlink()  # a link is replaced
    except OSError as error:
        raise UserError(
            f"cannot write {what} to {path.parent}: {_why(error)}; give another folder by {option}"
        ) from None
    if in_the_way:
        raise UserError(f"cannot write {what} to {path}: a folder is in its place; move that away and run again")


def read_regular(path: Path, most: int) -> bytes:
    """The content of a file that `open_regular` opens. Raises `OSError` for more than `most` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than {most:,}")
        return file.read()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with the path of a temporary file in the same folder, then rename that file to `path`.

    Raises `UserError` if the disk is full or the folder cannot be written. The temporary file is removed on failure.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {_why(error)}; "
            "free some space or give another folder (of a run: results.root=DIR), and run again"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # a parent of `partial` may be a file
            partial.unlink()


def write_text_atomically(path: Path, text: str) -> None:
    """Write `text` in UTF-8 by `write_atomically`; a part of a file's name that is no UTF-8 as its number."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8", errors="backslashreplace"))


def refuse_existing(target: Path, what: str) -> None:
    """Raise `UserError` if the folder `target`, for `what`, exists and is not an empty folder."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError(f"{target} is there already, and is no folder; choose another with out=<folder>, or delete it")
    try:
        taken = target.is_dir() and any(target.iterdir())
    except OSError as error:
        raise unwritable(target, what, error) from error
    if taken:
        raise _taken(target)


@contextlib.contextmanager
def no_empty_folder(folder: Path, what: str) -> Iterator[None]:
    """A context in which `folder`, for `what`, exists; new folders that are empty at the end are removed."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, what, error) from error
        yield
    finally:
        for one in made:
            with contextlib.suppress(OSError):  # not empty
                one.rmdir()


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room: on the disk, in the user's share of it, or in a file."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def unwritable(target: Path, what: str, error: OSError) -> UserError:
    """The `UserError` for a folder `target` in which `what` could not be written."""
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY) and target.is_dir():
        return _taken(target)
    elsewhere = "choose another folder with out=<folder>"
    if is_full(error):
        why = f"cannot write {what} {target} ({error.strerror}; many small files can fill a disk too)"
        return UserError(f"the disk is full: {why}; free some space or {elsewhere}")
    return UserError(f"cannot write {what} {target}: {error.strerror}; {elsewhere}")


def _taken(target: Path) -> UserError:
    return UserError(f"the folder {target} is not empty; choose another with out=<folder>, or delete it")


def _why(error: OSError) -> str:
    return "the disk is full" if is_full(error) else error.strerror or str(error)
