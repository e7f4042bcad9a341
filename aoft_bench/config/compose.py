"""Composes the files of conf/ and the words of a command line into one tree of plain values.

Hydra composes the cells that it runs, in a tenth of a second each. `Composer` does it for everything else, by the same
rules, in about a millisecond, so that `status` can compose every cell of a sweep of thousands. tests/config holds that
both make the same tree of every group in conf/ and every file in sweeps/.
"""

import copy
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aoft_bench.config.defaults import DefaultsLists, Files, Tree
from aoft_bench.utils.errors import UserError


@functools.cache
def parse_override(word: str) -> Override:
    """A word ``name=value`` in Hydra's grammar; raises `UserError` for what is none."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException:
        raise UserError(
            f"cannot read the argument {word!r}: give name=value, as in method=aoft or recipe.lr=1e-3"
        ) from None
    listed = override.is_discrete_sweep() and override.value_type is not ValueType.GLOB_CHOICE_SWEEP
    if override.is_sweep_override() and not listed:
        raise UserError(f"cannot sweep over {word!r}: give the values one by one, as in {override.key_or_group}=A,B")
    return override


def jobs_of(params: Mapping[str, str], words: Iterable[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, in order: the product of all values.

    params: hydra.sweeper.params of the sweep's file; a name that is in `words` too has the values given there.
    """
    values: dict[str, list[str]] = {}
    for word in [*(f"{name}={value}" for name, value in params.items()), *words]:
        override = parse_override(word)
        name = override.get_key_element()
        swept = override.is_sweep_override()
        values[name] = list(override.sweep_string_iterator()) if swept else [override.get_value_element_as_str()]
    return [list(job) for job in itertools.product(*([f"{n}={v}" for v in vs] for n, vs in values.items()))]


class Composer(Files):
    """Composes configurations of conf/ and of further folders; remembers what it has merged."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        super().__init__(folders)
        self._composed: dict[tuple[str, ...], Tree] = {}

    def compose(self, name: str = "config", words: Iterable[str] = ()) -> Tree:
        """The configuration `name` with overrides, interpolations resolved, without Hydra's own options.

        Raises `UserError` for a file or a name that does not exist, and for an interpolation of nothing.
        """
        overrides = [parse_override(word) for word in words]
        groups = [override for override in overrides if self.is_group(override.key_or_group)]
        tree = copy.deepcopy(self._merged(name, groups))
        tree.pop("hydra", None)
        for override in overrides:
            if override not in groups:
                _apply(override, tree)
        return _resolved(tree)

    def sweep_params(self, name: str) -> dict[str, str]:
        """hydra.sweeper.params of a primary configuration; empty if it is no sweep."""
        params = self._merged(name, []).get("hydra", {}).get("sweeper", {}).get("params") or {}
        return {key: str(value) for key, value in params.items()}

    def _merged(self, name: str, groups: list[Override]) -> Tree:
        """The files of a configuration, merged; not to be changed."""
        key = (name, *(str(override.input_line) for override in groups))
        if key not in self._composed:
            tree: Tree = {}
            for package, content in DefaultsLists(self, groups).layers(name):
                _merge(tree, functools.reduce(lambda inner, part: {part: inner}, _reversed(package), content))
            self._composed[key] = tree
        return self._composed[key]


def _reversed(package: str) -> list[str]:
    return package.split(".")[::-1] if package else []


def _merge(into: Tree, other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def _apply(override: Override, tree: Tree) -> None:
    """Set a value, or remove one (``~name``); a name that is not there needs ``+``."""
    *sections, last = override.key_or_group.split(".")
    adds = override.is_add() or override.is_force_add()
    inside: Any = tree
    for section in sections:
        inside = inside.setdefault(section, {}) if adds and isinstance(inside, dict) else _get(inside, section)
    if not isinstance(inside, dict) or not (adds or last in inside):
        name = override.key_or_group
        raise UserError(f"Could not override {name!r}. To append to your config use +{override.input_line}")
    if override.is_delete():
        del inside[last]
    else:
        _merge(inside, {last: override.value()})


def _get(tree: Any, name: str) -> Any:
    return tree.get(name) if isinstance(tree, dict) else None


def _resolved(tree: Tree) -> Tree:
    if "${" not in str(tree):
        return tree
    try:
        return OmegaConf.to_container(OmegaConf.create(tree), resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from None
