"""Interpolations, as in ``${recipe.lr}``: what they may read, and a tree with what they stand for.

A value stands in the record, and its command must give it again. So a value may refer to others of the configuration,
but not to the environment, the time, or Hydra's own values.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aoft_bench.config.check import problems_of
from aoft_bench.utils.errors import UserError

_ALLOWED = ("oc.select", "oc.dict.keys", "oc.dict.values")
_INNERMOST = re.compile(r"\$\{\s*(?:[^${}:]*|(?:" + "|".join(map(re.escape, _ALLOWED)) + r")\s*:[^${}]*)\}")


def interpolation_problem(name: str, value: str) -> str | None:
    """What is wrong with the interpolations in the value of an option, in words; None if nothing is."""
    before, text = "", value
    while before != text:  # from the inside out; what is left asks for something else, or is not closed
        before, text = text, _INNERMOST.sub("?", text)
    if "${" not in text:
        return None
    return (
        f"{name}: got {value!r}, which can have another value at another time or place, or is not closed; "
        f"allowed: ${{section.option}}, {', '.join(f'${{{allowed}:...}}' for allowed in _ALLOWED)}; "
        "give the value itself"
    )


def check_interpolations(section: str, tree: Any) -> None:
    """Raise `UserError` for interpolations in a tree of plain values that `interpolation_problem` refuses."""
    problems = [problem for name, text in _texts(section, tree) if (problem := interpolation_problem(name, text))]
    if problems:
        raise UserError(problems_of(problems))


def resolved(tree: dict[str, Any]) -> dict[str, Any]:
    """A copy of a tree of plain values with its interpolations replaced by what they stand for.

    Raises `UserError` for an interpolation of nothing, and for those that `interpolation_problem` refuses.
    """
    if "${" not in str(tree):
        return copy.deepcopy(tree)
    check_interpolations("", tree)
    try:
        return OmegaConf.to_container(OmegaConf.create(tree), resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from None


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """(dotted name, text) of every text in nested dictionaries and lists."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(f"{name}.{key}" if name else str(key), inner)
