"""Kinds of options: numbers in a range, and options that were added after records of their section were written."""

import copy
import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PlainValidator, WrapValidator
from pydantic_core import PydanticCustomError

STRICT = ConfigDict(strict=True, extra="forbid")


def _as_given(value: Any, validate: Callable[[Any], Any]) -> Any:
    validate(value)
    return value


# an integer stays one: the hash of a record distinguishes 1 from 1.0
Number = WrapValidator(_as_given)
Unit = Annotated[float, Field(ge=0, lt=1), Number]
NotNegative = Annotated[float, Field(ge=0), Number]
Positive = Annotated[float, Field(gt=0), Number]
Count = Annotated[int, Field(ge=1, le=10**9)]  # as records hold it


def _count_or_all(value: Any) -> int | str:
    if value == "all" or (type(value) is int and 1 <= value <= 10**9):
        return value  # type: ignore[no-any-return]
    raise PydanticCustomError("count_or_all", "give all, or a whole number of at least 1")


CountOrAll = Annotated[int | str, PlainValidator(_count_or_all)]  # one reason, where a union would give two


def _blocks(value: Any) -> str | list[int]:
    if isinstance(value, str) and re.fullmatch(r"all|last:[1-9]\d{0,5}", value):
        return value
    rising = isinstance(value, list) and value and all(type(number) is int and number >= 0 for number in value)
    if rising and all(one < other for one, other in itertools.pairwise(value)):
        return value  # type: ignore[no-any-return]
    raise PydanticCustomError("blocks", "give all, last:N (the last N), or numbers from 0, rising, as in [10,11]")


def _blocks_or_last(value: Any) -> int | str | list[int]:
    return value if type(value) is int and 1 <= value <= 10**6 else _blocks(value)


Blocks = Annotated[int | str | list[int], PlainValidator(_blocks)]
BlocksOrLast = Annotated[
    int | str | list[int], PlainValidator(_blocks_or_last)
]  # N is last:N, as older records have it


def added(default: Any) -> Any:
    """The default of an option that is newer than some records: left out there, so that these keep their hash."""
    metadata = {"added": True}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def plain_values(options: Any, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values of a dataclass of options, without those that were added later and are at their default.

    given: some of these values and others; all of them by default. The result shares nothing with the options.
    """
    left_out = {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(options)
        if field.metadata.get("added")
    }
    values = dataclasses.asdict(options) if given is None else copy.deepcopy(given)
    return {name: value for name, value in values.items() if name not in left_out or left_out[name] != value}
