"""Composes the files of conf/ and the words of a command line into one tree of plain values.

A file may open with a defaults list, which names the files that are merged before it; the rules are Hydra's
(https://hydra.cc/docs/advanced/defaults_list). Hydra composes the cells that it runs, in a tenth of a second each.
`Composer` does it for everything else in about a millisecond, which is what `status` needs for a sweep of thousands. A
test holds that both make the same tree of every file in conf/ and sweeps/.
"""

import copy
import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aoft_bench.config.schema import conf_dir
from aoft_bench.utils.errors import UserError, unknown

Tree = dict[str, Any]
GLOBAL = "_global_"


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


class Composer:
    """conf/ and, after it, further folders of configurations such as that of -cd; the first that has a file wins."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = [conf_dir(), *folders]
        self._composed: dict[tuple[str, ...], Tree] = {}

    def compose(self, name: str = "config", words: Iterable[str] = ()) -> Tree:
        """The configuration `name` with overrides, interpolations resolved, without Hydra's own options.

        Raises `UserError` for a file or a name that does not exist, and for an interpolation of nothing.
        """
        overrides = [parse_override(word) for word in words]
        groups = [override for override in overrides if self._is_group(override)]
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

    def choices(self, group: str) -> list[str]:
        """The files of a group, by the names that ``group=`` takes, sorted."""
        inside = [folder / group for folder in self.folders]
        return sorted({str(p.relative_to(f).with_suffix("")) for f in inside for p in f.rglob("*.yaml")})

    def groups(self) -> list[str]:
        """The names of the groups, sorted: the folders of folders."""
        return sorted({path.name for folder in self.folders for path in folder.iterdir() if path.is_dir()})

    def names(self) -> list[str]:
        """The primary configurations, sorted: what -cn takes."""
        return sorted({path.stem for folder in self.folders for path in folder.glob("*.yaml")})

    def _is_group(self, override: Override) -> bool:
        return any((folder / override.key_or_group).is_dir() for folder in self.folders)

    def _merged(self, name: str, groups: list[Override]) -> Tree:
        """The files of a configuration, merged; not to be changed."""
        key = (name, *(str(override.input_line) for override in groups))
        if key not in self._composed:
            tree: Tree = {}
            for package, content in _Defaults(self, groups).layers(name):
                _merge(tree, functools.reduce(lambda inner, part: {part: inner}, _reversed(package), content))
            self._composed[key] = tree
        return self._composed[key]

    def file(self, path: str) -> "_File | None":
        """A file by its path below the folders, without suffix; None if there is none."""
        for folder in self.folders:
            found = folder / f"{path}.yaml"
            if found.is_file():
                return _read(found, found.stat().st_mtime_ns)
        return None


@dataclass(frozen=True)
class _File:
    """A file as it is read. package: of its ``# @package`` line; defaults: its defaults list; content: the rest."""

    package: str | None
    defaults: list["_Entry"]
    content: Tree


@dataclass(frozen=True)
class _Entry:
    """An entry of a defaults list: a file (group None), or a choice of a group; package: what stands after ``@``."""

    choice: Any
    group: str | None = None
    package: str | None = None
    optional: bool = False
    override: bool = False

    @property
    def is_self(self) -> bool:
        return self.group is None and self.choice == "_self_"


@functools.lru_cache(maxsize=4096)
def _read(path: Path, mtime_ns: int) -> _File:
    text = path.read_text(encoding="utf-8")
    try:
        content: Any = OmegaConf.to_container(OmegaConf.create(text) if text.strip() else OmegaConf.create())
    except yaml.YAMLError as error:
        raise UserError(f"a configuration file is not YAML: {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no names with values")
    header = [line.split()[2] for line in text.splitlines() if line.replace("#", "").split()[:1] == ["@package"]]
    defaults = [_entry(given) for given in content.pop("defaults", None) or []]
    return _File(header[0] if header else None, defaults, content)


def _entry(given: Any) -> _Entry:
    """An entry as YAML has it: ``name``, ``name@package`` or ``[optional|override] group[@package]: choice``."""
    if isinstance(given, str):
        name, _, package = given.partition("@")
        return _Entry(name, package=package or None)
    ((words, choice),) = given.items()
    *flags, target = words.split()
    group, _, package = target.partition("@")
    return _Entry(choice, group, package or None, "optional" in flags, "override" in flags)


class _Defaults:
    """Walks the defaults lists of one configuration. Choices of the command line win over those of outer files, and
    these over those of inner ones. A choice with an interpolation is made after its neighbours."""

    def __init__(self, composer: Composer, groups: list[Override]) -> None:
        self._composer = composer
        self._chosen = {o.get_key_element(): o.value() for o in groups if not (o.is_add() or o.is_delete())}
        self._deleted = {o.get_key_element().removeprefix("~") for o in groups if o.is_delete()}
        self._appended = [_Entry(o.value(), o.key_or_group, o.package) for o in groups if o.is_add()]
        self._known: dict[str, Any] = {}

    def layers(self, name: str) -> list[tuple[str, Tree]]:
        """(package, content) of each file, in the order in which they are merged."""
        found = self._entry(_Entry(name), "", "", self._appended)
        unused = [key for key in {*self._chosen, *self._deleted} if key not in self._known and "hydra/" not in key]
        if unused:
            raise UserError(f"no defaults list has {unused[0]!r}: +{unused[0]}=... adds it")
        return found

    def _file(self, file: _File, group: str, package: str, appended: Sequence[_Entry] = ()) -> list[tuple[str, Tree]]:
        entries = [*file.defaults, *appended]
        if not any(entry.is_self for entry in entries):
            entries.insert(len(file.defaults), _Entry("_self_"))
        for entry in entries:
            if entry.override:
                self._chosen.setdefault(_key(entry, group, package), entry.choice)
        slots: list[Any] = []
        for entry in reversed(entries):
            if entry.is_self:
                slots.append([(package, file.content)])
            elif not entry.override:
                choice = self._chosen.get(_key(entry, group, package), entry.choice) if entry.group else entry.choice
                chosen = _Entry(choice, entry.group, entry.package, entry.optional)
                slots.append(chosen if "${" in str(choice) else self._entry(chosen, group, package))
        for index, slot in enumerate(slots):
            if isinstance(slot, _Entry):
                choice = self._interpolated(slot.choice)
                resolved = _Entry(choice, slot.group, slot.package, slot.optional)
                slots[index] = self._entry(resolved, group, package)
        return [layer for slot in reversed(slots) for layer in slot]

    def _entry(
        self, entry: _Entry, parent_group: str, parent_package: str, appended: Sequence[_Entry] = ()
    ) -> list[tuple[str, Tree]]:
        """The layers of an entry, which stands in a file of `parent_group`, whose values go to `parent_package`."""
        group = _joined(parent_group, entry.group or "")
        if entry.group is not None:
            key = _key(entry, parent_group, parent_package)
            self._known[key] = entry.choice
            if key in self._deleted or group.startswith("hydra/"):
                return []
        found: list[tuple[str, Tree]] = []
        for choice in entry.choice if isinstance(entry.choice, list) else [entry.choice]:
            if choice is None:
                continue
            path = _joined(group, choice)
            file = self._composer.file(path)
            if file is not None:
                folder = path.rpartition("/")[0]
                given = entry.package if entry.package is not None else file.package and f"{GLOBAL}.{file.package}"
                own = entry.group if entry.group is not None else choice.rpartition("/")[0]
                inside = _package(parent_package, own if given is None else given)
                found += self._file(file, folder, inside, appended)
            elif not entry.optional:
                raise unknown(group or "configuration (-cn)", choice, self._composer.choices(group))
        return found

    def _interpolated(self, choice: str) -> str:
        """The choice with its interpolations replaced, the innermost first."""
        while found := re.search(r"\$\{[^{}]*\}", choice):
            named = tuple((key, value) for key, value in self._known.items() if key in found[0])
            choice = choice[: found.start()] + _evaluated(found[0], named) + choice[found.end() :]
        return choice


@functools.cache
def _evaluated(expression: str, known: tuple[tuple[str, Any], ...]) -> str:
    """An interpolation in a defaults list. known: the choices that it names."""
    try:
        return str(OmegaConf.create({**dict(known), "_value": expression})["_value"])
    except OmegaConfBaseException as error:
        raise UserError(f"in a defaults list, {expression}: {str(error).splitlines()[0]}") from None


def _key(entry: _Entry, group: str, package: str) -> str:
    """The name by which an entry is overridden: its group, and @package if that is not the group's own."""
    path = _joined(group, entry.group or "")
    own = path.replace("/", ".")
    given = _package(package, entry.package if entry.package is not None else (entry.group or "").strip("/"))
    return path if given == own else f"{path}@{given or GLOBAL}"


def _joined(group: str, name: str) -> str:
    """A path below the folders: relative to `group` unless it starts with /."""
    return name[1:] if name.startswith("/") else "/".join(part for part in (group, name) if part)


def _package(parent: str, own: str) -> str:
    """Where values go: below the parent's package, unless the own one says _global_."""
    parts = [part for part in (*parent.split("."), *own.replace("/", ".").split(".")) if part and part != "_here_"]
    if GLOBAL in parts:
        parts = parts[len(parts) - parts[::-1].index(GLOBAL) :]
    return ".".join(parts)


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
