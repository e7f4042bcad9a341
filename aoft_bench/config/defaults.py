"""The files of conf/, and the order in which those of a configuration are merged.

A file may open with a defaults list, which names the files that are merged before or after it. The rules are Hydra's:
https://hydra.cc/docs/advanced/defaults_list.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aoft_bench.config.schema import conf_dir
from aoft_bench.utils.errors import UserError, unknown

Tree = dict[str, Any]
GLOBAL = "_global_"


class Files:
    """conf/ and, after it, further folders of configurations such as that of -cd; the first that has a file wins."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = [conf_dir(), *folders]

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

    def is_group(self, name: str) -> bool:
        """Whether there is a group of this name."""
        return any((folder / name).is_dir() for folder in self.folders)

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
    try:
        defaults = [_entry(given) for given in content.pop("defaults", None) or []]
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"{path}: its defaults list has an entry that is neither a file nor a choice of a group"
        ) from None
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


class DefaultsLists:
    """Walks the defaults lists of one configuration. Choices of the command line win over those of outer files, and
    these over those of inner ones. A choice with an interpolation is made after its neighbours."""

    def __init__(self, files: Files, groups: list[Override]) -> None:
        self._files = files
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
            file = self._files.file(path)
            if file is not None:
                folder = path.rpartition("/")[0]
                given = entry.package if entry.package is not None else file.package and f"{GLOBAL}.{file.package}"
                own = entry.group if entry.group is not None else choice.rpartition("/")[0]
                inside = _package(parent_package, own if given is None else given)
                found += self._file(file, folder, inside, appended)
            elif not entry.optional:
                raise unknown(group or "configuration (-cn)", choice, self._files.choices(group))
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
