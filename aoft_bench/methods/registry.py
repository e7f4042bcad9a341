"""The registry of methods: one file that declares `@method`, one YAML of the same name, nothing else to edit."""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

from pydantic.dataclasses import dataclass
from typing_extensions import dataclass_transform

from aoft_bench.config.method_packages import GROUP, method_entry_points
from aoft_bench.methods.base import Factors, Method, Shape
from aoft_bench.utils.errors import UserError, unknown

__all__ = ["Factors", "Method", "Shape", "build", "get", "method", "names", "names_with_factors"]

M = TypeVar("M", bound=Method)
_METHODS: dict[str, type[Method]] = {}


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def method(name: str) -> Callable[[type[M]], type[M]]:
    """Class decorator: a frozen pydantic dataclass, registered under the name of its YAML; each name once."""

    def register(cls: type[M]) -> type[M]:
        if name in _METHODS and _METHODS[name].__module__ != cls.__module__:
            raise ValueError(f"two methods are called {name!r}: {_METHODS[name].__module__} and {cls.__module__}")
        registered: Any = dataclass(frozen=True)(cls)
        _METHODS[name] = registered
        return registered  # type: ignore[no-any-return]

    return register


@functools.cache
def _load() -> None:
    """Import every file of this package, and what installed packages bring, once."""
    package = importlib.import_module("aoft_bench.methods")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"aoft_bench.methods.{module.name}")
    for point in method_entry_points():
        _import(point)


def _import(point: EntryPoint) -> None:
    """Import the module of an entry point; a `UserError` that names its package where that fails."""
    try:
        importlib.import_module(point.module)
    except Exception as error:
        package = point.dist.name if point.dist else "?"
        why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise UserError(
            f"the methods of the package {package} cannot be used: importing {point.module} (entry point {point.name} "
            f"of {GROUP}) ended in {why}; mend it, or remove it by pip uninstall {package}"
        ) from None


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
