"""The registry of methods: one file that declares `@method`, one YAML of the same name, nothing else to edit."""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from aoft_bench.methods.base import Factors, Method, Shape
from aoft_bench.utils.errors import UserError, unknown

__all__ = ["Factors", "Method", "Shape", "build", "get", "method", "names", "names_with_factors"]

M = TypeVar("M", bound=type[Any])  # of `Method`, but pydantic's decorator hides it from mypy
_METHODS: dict[str, type[Method]] = {}


def method(name: str) -> Callable[[M], M]:
    """Class decorator that registers a method under the name of its YAML; a name taken twice is an error."""

    def register(cls: M) -> M:
        if name in _METHODS:
            raise ValueError(f"two methods are called {name!r}: {_METHODS[name].__module__} and {cls.__module__}")
        _METHODS[name] = cls
        return cls

    return register


@functools.cache
def _load() -> None:
    """Import every file of this package, once."""
    package = importlib.import_module("aoft_bench.methods")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"aoft_bench.methods.{module.name}")


def names() -> list[str]:
    """Names of all methods, sorted."""
    _load()
    return sorted(_METHODS)


def names_with_factors() -> list[str]:
    """Names of the methods that have W_down and W_up (`Method.factors`), sorted."""
    return [name for name in names() if _METHODS[name].factors is not Method.factors]


def get(name: str) -> type[Any]:
    """The class of a method; `UserError` with the closest name if there is none."""
    _load()
    if name not in _METHODS:
        raise unknown("method", name, _METHODS, "`aoft-bench list methods` shows them all")
    return _METHODS[name]


def build(name: str, options: dict[str, Any]) -> Method:
    """A method from its options; one `UserError` that lists everything wrong with them."""
    from aoft_bench.config.check import check, problems_of

    cls = get(name)
    problems = check(cls, options, f"method({name})")
    if problems:
        raise UserError(problems_of(problems))
    return cls(**options)  # type: ignore[no-any-return]
