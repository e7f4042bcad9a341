"""The registry of methods: one file that declares `@method`, one YAML of the same name, nothing else to edit."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor, nn

from aoft_bench.backbones.layout import Shape as Shape
from aoft_bench.utils.errors import UserError, unknown


@dataclass(frozen=True)
class Factors:
    """The two projections of one module that a method inserted: what `aoft-bench analyze` looks at.

    down (in, d), up (d, out): W_down and W_up as trained, without any scale between or around them.
    update: (A, B) with shapes (in, k) and (out, k), every scale included; the linear part of what the module adds to
    the network is x A B^T.
    """

    down: Tensor
    up: Tensor
    update: tuple[Tensor, Tensor]


class Method(Protocol):
    """What a method file provides: a pydantic dataclass whose fields are the options of its YAML.

    attach(model)      inserts modules into a frozen timm model, in place. Everything inserted is trained, beside the
                       head; what must stay fixed (a random projection, a starting point) is a buffer.
    count(shape)       number of trained parameters without the head, as a formula of the backbone's `Shape`; None where
                       `Shape` does not determine it.
    source             paper (equation) and pinned code that the file was written from.
    mergeable          whether the trained model can be folded back into the backbone's own layers: then everything
                       inserted is in a `Foldable`.
    starts_at_backbone whether the adapted model computes the pre-trained function before the first step.

    Four more are optional:

    tunes(model)       shell patterns (``blocks.*.bias``) of the backbone's own parameters that are trained; without it
                       there are none.
    scales(name)       (lr, weight_decay) of a trained parameter as multiples of the recipe's; without it (1, 1).
    factors(module)    `Factors` of a module that the method inserted, None for any other; a method that has no W_down
                       and W_up goes without it.
    forms_weight_gradients  true where the backward pass forms the gradient of a frozen weight, a layer at a time: a
                       library's does, and rlrr's, which is faster so.
    """

    source: ClassVar[str]
    mergeable: ClassVar[bool]

    def attach(self, model: nn.Module) -> None: ...
    def count(self, shape: Shape) -> int | None: ...
    @property
    def starts_at_backbone(self) -> bool: ...


M = TypeVar("M", bound=type)
_METHODS: dict[str, type[Any]] = {}


def method(name: str) -> Callable[[M], M]:
    """Class decorator that registers a method under the name of its YAML; a name taken twice is an error."""

    def register(cls: M) -> M:
        if name in _METHODS:
            raise ValueError(f"two methods are called {name!r}: {_METHODS[name].__module__} and {cls.__module__}")
        _METHODS[name] = cls
        return cls

    return register


def _load() -> None:
    package = importlib.import_module("aoft_bench.methods")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"aoft_bench.methods.{module.name}")


def names() -> list[str]:
    """Names of all methods, sorted."""
    _load()
    return sorted(_METHODS)


def get(name: str) -> type[Any]:
    """The option class of a method; `UserError` with the closest name if there is none."""
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
