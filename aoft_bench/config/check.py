"""Checks of options that collect all problems, each in the user's words, instead of stopping at the first."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from aoft_bench.utils.errors import unknown_text
from aoft_bench.utils.text import is_one_line, shown

_LIMITS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}
_NOUNS = {"int_type": "an integer", "float_type": "a number", "bool_type": "true or false"}
REFUSED = "refused: "  # a text that starts so in a file of conf/, in the place of a number, says why there is none
_LONGEST = 255  # bytes of the name of a file or a folder


def check(cls: type[Any], options: Mapping[str, Any], where: str) -> list[str]:
    """Problems of `options` as fields of the dataclass `cls`, one text each; empty if there are none.

    Unknown names come with the closest valid one; missing names, wrong types and values out of range with what is
    allowed. Types are strict: "8" is no integer and 1 is no boolean. `where` is put before each name.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}
    problems = [unknown_text(f"option of {where}", name, fields) for name in options if name not in fields]
    for name, field in fields.items():
        if name in options:
            problems += check_value(cls, name, options[name], where)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{_full(where, name)} is missing")
    return problems


def check_value(cls: type[Any], name: str, value: Any, where: str) -> list[str]:
    """Problems of one value against the annotation of the field `name` of `cls`."""
    full = _full(where, name)
    try:
        _validators(cls)[name].validate_python(value, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        if isinstance(value, str) and value.startswith(REFUSED):
            return [f"{full}: {value.removeprefix(REFUSED)}"]
        return [f"{full}: got {shown(value)}, {why}" for why in dict.fromkeys(map(_reason, error.errors()))]
    if isinstance(value, str) and (why := _no_text(value)):
        return [f"{full}: got {shown(value)}, {why}"]
    if isinstance(value, int) and abs(value) >= 2**32:
        return [f"{full}: got {shown(value)}, must be below {2**32}"]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{full}: got {value}, give a finite number"]
    if isinstance(value, list) and len({str(v) for v in value}) < len(value):
        return [f"{full}: got {shown(value)}, each may be named once"]
    return []


def _no_text(value: str) -> str:
    """Why a text is no name, and no path; empty if it may be one."""
    if not value.strip():
        return "give a value, or leave the option out for its default"
    if value == "???":
        return "which marks a value that has to be given: give it"
    if not is_one_line(value):
        return "has control characters, or halves of characters: names are one line of UTF-8"
    longest = max(len(part.encode()) for part in value.split("/"))
    return f"has a part of {longest} bytes, a name on a disk has at most {_LONGEST}" if longest > _LONGEST else ""


def problems_of(problems: list[str]) -> str:
    """One text for a list of problems: the problem itself, or a numbered line for each."""
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems\n" + "\n".join(f"  {i}. {problem}" for i, problem in enumerate(problems, 1))


@functools.cache
def _validators(cls: type[Any]) -> dict[str, TypeAdapter[Any]]:
    """A validator for each field of a dataclass; made once, since a sweep checks thousands of cells."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: TypeAdapter(hints[field.name]) for field in dataclasses.fields(cls)}


def _full(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _reason(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        if not isinstance(error["input"], str):
            return f"allowed: {context['expected']}"
        return unknown_text("value", error["input"], _names(context["expected"]))
    if kind in _LIMITS:
        (limit,) = (context[key] for key in ("gt", "ge", "lt", "le") if key in context)
        return f"must be {_LIMITS[kind]} {limit}"
    if kind in _NOUNS:
        return f"must be {_NOUNS[kind]}"
    if kind == "string_type":
        return "must be a text; quotes make one of a number, as in '\"1\"'"
    if kind == "too_short":
        return f"must have at least {context['min_length']} item"
    if kind == "list_type":
        return "must be a list, as in [q,v]"
    message = str(error["msg"])
    return message if message[:1].islower() else message.lower()  # ours are written as they are to be read


def _names(expected: str) -> list[str]:
    return [name.strip().strip("'") for name in expected.replace(" or ", ", ").split(",")]
