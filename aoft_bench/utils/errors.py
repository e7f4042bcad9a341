"""Errors a user can cause: one line, no traceback, exit code 2."""

import difflib
import re
from collections.abc import Iterable

SHOWN = 40  # names in one message; timm knows hundreds


class UserError(Exception):
    """A mistake the user can mend: says what was wrong, what was got, what is allowed and what to do next.

    The text is one line (or, for several problems found at once, one line a problem); the command line prints it
    without a traceback and exits with 2.
    """


def closest(name: object, allowed: Iterable[str]) -> list[str]:
    """The allowed names, those most like `name` first."""
    names = sorted(set(allowed), key=_natural)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    return near + [other for other in names if other not in near]


def unknown(kind: str, got: object, allowed: Iterable[str], hint: str = "") -> UserError:
    """`UserError` for a name that is not in a fixed set, the closest names first."""
    return UserError(unknown_text(kind, got, allowed, hint))


def unknown_text(kind: str, got: object, allowed: Iterable[str], hint: str = "") -> str:
    """The text of `unknown`, for those who collect problems before they raise."""
    names = list(allowed)
    near = difflib.get_close_matches(str(got), names, n=1, cutoff=0.5)
    mean = f" (did you mean {near[0]!r}?)" if near else ""
    shown = closest(got, names)
    rest = f" and {len(shown) - SHOWN} others" if len(shown) > SHOWN else ""
    allowed = f"{', '.join(shown[:SHOWN])}{rest}"
    return f"unknown {kind} {str(got)!r}{mean}; allowed: {allowed}" + (f"; {hint}" if hint else "")


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts vit_b before vit_l and 2 before 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]
