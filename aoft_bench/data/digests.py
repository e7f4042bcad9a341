"""SHA-256 of image files, remembered beside the cache, so that an unchanged file is read once.

A file is unchanged where its inode, its size and the times of its last modification and of its last change of status
are those of the file that was read. The last one cannot be set by a user: pixels that are overwritten with the old
time of modification are noticed.

    <SHA-256 of the rest>
    <inode> <size> <mtime> <ctime> <SHA-256>            one line for each file, times in ns
"""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import open_regular, write_text_atomically
from aoft_bench.utils.progress_bar import progress

_THREADS = 4  # hashing does not hold the interpreter lock
_BLOCK = 2**20  # bytes read at once
_COPIES = 8  # of the files, such as one on each node of a cluster, whose digests are kept
_SETTLED = 2_000_000_000  # ns; two writes to a younger file could have one time, by the resolution of file systems


def digests_of(paths: Sequence[Path], states: Sequence[os.stat_result], memory: Path | None, what: str) -> list[str]:
    """The SHA-256 of each file, in hex; `states` is what `os.stat` says of them.

    Digests are read from and written to the file `memory`, which need not exist or be writable; None remembers
    nothing. what: named by the progress bar. Raises `OSError` for a file that cannot be read, and `UserError` for one
    that changes meanwhile.
    """
    known = _read(memory) if memory else {}
    keys = [_key(state) for state in states]
    found = [known.get(key, "") for key in keys]
    unread = [index for index, digest in enumerate(found) if not digest]
    if not unread:
        return found
    now = time.time_ns()

    def read(index: int) -> str:
        with open_regular(paths[index]) as file:
            digest = hashlib.sha256()
            while block := file.read(_BLOCK):
                digest.update(block)
            if _key(os.fstat(file.fileno())) != keys[index]:
                raise UserError(f"{paths[index]} changed while it was read; run again when nothing writes to it")
        return digest.hexdigest()

    with ThreadPoolExecutor(_THREADS) as pool, progress(f"reading {what}", len(unread)) as advance:
        for index, digest in zip(unread, pool.map(read, unread), strict=True):
            found[index] = digest
            advance(1)
    if memory:
        settled = (max(state.st_mtime_ns, state.st_ctime_ns) < now - _SETTLED for state in states)
        kept = known if len(known) < _COPIES * len(keys) else {}
        with suppress(UserError):  # a read-only cache: the files are read again the next time
            _write(memory, kept | {key: digest for key, digest, old in zip(keys, found, settled, strict=True) if old})
    return found


def _key(state: os.stat_result) -> str:
    return f"{state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"


def _read(memory: Path) -> dict[str, str]:
    """The digests that are remembered; none where the file is missing or damaged."""
    try:
        with open_regular(memory) as file:
            checksum, _, text = file.read().decode("ascii").partition("\n")
    except (OSError, ValueError):
        return {}
    if hashlib.sha256(text.encode()).hexdigest() != checksum:
        return {}
    return dict(line.rsplit(" ", 1) for line in text.splitlines())


def _write(memory: Path, digests: dict[str, str]) -> None:
    text = "".join(f"{key} {digest}\n" for key, digest in digests.items())
    write_text_atomically(memory, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
