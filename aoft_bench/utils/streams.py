"""Standard output and error that do not stop the work when they are closed, full, unread, or lack a character."""

import codecs
import contextlib
import io
import os
import sys
import unicodedata

# what an encoding such as ASCII prints instead; the marks of `aoft-bench status` stay different
_INSTEAD = {"█": "#", "▶": ">", "‖": "=", "✗": "x", "·": ".", "±": "+-", "→": "->", "−": "-", "×": "x", "†": "+"}


class SteadyStream(io.TextIOWrapper):
    """Text to a file descriptor. After the first error, what is written is dropped.

    problem: that error; None for a pipe that nobody reads any more, as of ``| head``.
    """

    problem: OSError | None = None

    def write(self, text: str, /) -> int:
        """Write, or drop, `text`; returns its length."""
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            self.problem = error
        # what is buffered goes there too, so that the end of the process meets no error
        _to_nowhere(self.fileno())


def steady_streams() -> None:
    """Make the stdout and stderr of this process `SteadyStream`s, unless something else has replaced them."""
    codecs.register_error("aoft_bench", _instead)
    for number in (0, 1, 2):
        # a file that is opened later must not become stdout because that was closed (>&-)
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        _to_nowhere(number)
    for name, number in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        if old is None:
            setattr(sys, name, _steady(os.open(os.devnull, os.O_WRONLY), None))
        elif type(old) is io.TextIOWrapper:
            old.flush()
            setattr(sys, name, _steady(number, old))


def finish_streams(code: int) -> int:
    """The exit code of this process, which would be `code`: 2 if its output could not be written. Says so."""
    sys.stdout.flush()
    problem = getattr(sys.stdout, "problem", None)
    if problem is None:
        return code
    print(f"aoft_bench: cannot write to stdout: {problem.strerror}; not all of the output is there", file=sys.stderr)
    return code or 2


def _to_nowhere(number: int) -> None:
    """Let a file descriptor write to nowhere, also in the processes that this one starts."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(nowhere, number)
        os.close(nowhere)


def _steady(number: int, old: io.TextIOWrapper | None) -> SteadyStream:
    """A stream to the file descriptor `number` with the encoding and buffering of `old`, by default UTF-8."""
    return SteadyStream(
        io.BufferedWriter(io.FileIO(number, "w", closefd=False)),
        encoding=old.encoding if old else "utf-8",
        errors="aoft_bench",
        line_buffering=old.line_buffering if old else False,
        write_through=old.write_through if old else False,
    )


def _instead(error: UnicodeError) -> tuple[str, int]:
    """What is printed for characters that the encoding lacks: similar ones, else their numbers."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(sign) or _similar(sign) or ascii(sign)[1:-1] for sign in signs), error.end


def _similar(sign: str) -> str:
    return unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
