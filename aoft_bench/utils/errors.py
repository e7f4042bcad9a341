"""Errors that a user can cause. The command line prints them in one line and exits with code 2."""

import difflib
import re
from collections.abc import Iterable

from aoft_bench.utils.text import plain_lines, shown

SHOWN = 40  # most names in one message; timm has hundreds of models


class UserError(Exception):
    """A mistake that the user can correct.

    The text says what was wrong, what was given, what is allowed and what to do next. It is one line, or one line per
    problem where several are reported at once. The command line prints it without a traceback and exits with code 2.
    Control characters, as names of files may hold them, are written out.
    """

    def __str__(self) -> str:
        return plain_lines(super().__str__())


def closest(name: object, allowed: Iterable[str]) -> list[str]:
    """Return the allowed names, the ones most similar to `name` first."""
    names = sorted(set(allowed), key=_natural)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    return near + [other for other in names if other not in near]


def message_of(error: BaseException, most: int = 300) -> str:
    """The text of an error of a library in one line, at most `most` characters; without a text the name of its type."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of the text of an error, at most 160 characters; without a text the name of its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def system_problem(error: OSError) -> str:
    """Return in words what the system refused, why, and what to do."""
    reason = error.strerror or message_of(error)
    if error.filename is None:
        return f"the system refused to go on: {reason}"
    return f"the system refused {shown(str(error.filename))}: {reason}; give another file or folder"


def unknown(kind: str, got: object, allowed: Iterable[str], hint: str = "") -> UserError:
    """Return the `UserError` for a name that is not among the allowed ones. It lists the closest names first."""
    return UserError(unknown_text(kind, got, allowed, hint))


def unknown_text(kind: str, got: object, allowed: Iterable[str], hint: str = "") -> str:
    """Return the message of `unknown`, for code that collects several problems before it raises."""
    names = list(allowed)
    near = difflib.get_close_matches(str(got), names, n=1, cutoff=0.5)
    mean = f" (did you mean {near[0]!r}?)" if near else ""
    listed = closest(got, names)
    rest = f" and {len(listed) - SHOWN} others" if len(listed) > SHOWN else ""
    allowed = f"{', '.join(listed[:SHOWN])}{rest}"
    return f"unknown {kind} {shown(str(got))}{mean}; allowed: {allowed}" + (f"; {hint}" if hint else "")


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key that compares numbers within names as numbers: 2 before 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]
