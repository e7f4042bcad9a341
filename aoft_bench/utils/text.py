"""Text from outside, such as a record or the name of a file, before it is printed or becomes part of another text."""

import re
import reprlib
from typing import Any

# what ends a line, moves a terminal's cursor or hides a part of a text: control characters, line separators, marks that
# turn the direction of writing, halves of characters
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

LENGTH = 200  # most characters of a value in a message

_SHORT = reprlib.Repr()  # of values that may be nested without end
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 3
_SHORT.maxlist = 12


def is_one_line(text: str) -> bool:
    """Whether `text` is printed as it is, in one line."""
    return not _UNPRINTABLE.search(text)


def one_line(text: str) -> str:
    r"""`text` with line breaks and control characters written out, as in \n and \x1b."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def plain_lines(text: str) -> str:
    """`text` of several lines, each as `one_line` gives it."""
    return "\n".join(map(one_line, text.split("\n")))


def shown(value: object) -> str:
    """The `repr` of a value in one line, without the middle if it is long."""
    try:
        text = one_line(_SHORT.repr(value) if isinstance(value, dict | list) else repr(value))
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= LENGTH else f"{text[: LENGTH // 2]}...{text[-LENGTH // 4 :]} ({len(text):,} characters)"


def counted(number: int, noun: str) -> str:
    """1 record, or 2,000 records."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def csv_cell(value: Any) -> Any:
    """`value`, or a text that a spreadsheet would take for a formula, with an apostrophe before it."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
