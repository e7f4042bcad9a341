"""Reads the command line of a run and checks it as a whole, so that one error lists every problem.

Hydra stops at the first one. Here each override is held against the files of conf/ (groups) and the options of
`schema` and of the methods (values). What passes may still be refused when the whole is composed.
"""

import argparse
import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.types import Override

from aoft_bench.config import choices
from aoft_bench.config.check import check_value, problems_of
from aoft_bench.config.compose import Composer, parse_override
from aoft_bench.config.folders import conf_dir, sweeps_dir
from aoft_bench.config.hparams_files import check_hparams_files
from aoft_bench.config.interpolations import interpolation_problem
from aoft_bench.config.schema import SECTIONS, MethodClass, Scalars
from aoft_bench.utils.errors import UserError, unknown_text
from aoft_bench.utils.text import is_one_line

# what Hydra reads without quotes, and what has a meaning in its grammar: quotes, lists, dictionaries, interpolations
_PLAIN = re.compile(r"[\w/+.$%*@?|: \t\\-]*", re.ASCII)
_GRAMMAR = re.compile(r"[\[\]{}()'\"$\\]")


@dataclass(frozen=True)
class CommandLine:
    """What a command line asks for. name: the primary configuration (-cn); folder: of -cd; words: its overrides, as
    Hydra reads them; arguments: all of it, for hydra.main."""

    name: str
    folder: Path | None
    words: list[str]
    arguments: list[str]

    @property
    def composer(self) -> Composer:
        """For configurations of conf/ and, after it, the folder."""
        return Composer([self.folder] if self.folder else [])


def split_word(word: str, example: str = "method=aoft") -> tuple[str, str]:
    """(name, value) of a word ``name=value``; raises `UserError`, with an example, for a word without ``=``."""
    name, equals, value = word.partition("=")
    if not equals:
        raise UserError(f"cannot read the argument {word!r}: give name=value, as in {example}")
    return name, value


def quoted(word: str) -> str:
    """A word ``name=value`` in Hydra's grammar: a value that this cannot read, such as ~/päck, in quotes.

    A value with a sign of the grammar stays as it is. Commas separate values.
    """
    name, equals, value = word.partition("=")
    if not equals or _PLAIN.fullmatch(value) or _GRAMMAR.search(value):
        return word
    return f"{name}=" + ",".join(v if _PLAIN.fullmatch(v) else f"'{v}'" for v in value.split(","))


def read_command_line(arguments: Sequence[str], method_class: MethodClass, folder: Path | None = None) -> CommandLine:
    """A command line, checked; raises one `UserError` that lists everything wrong with it.

    method_class: gives the class of a method by its name; it is called if an option of a method is given.
    folder: what -cd is by default.
    """
    arguments = _with_shipped_sweeps(arguments)
    parsed = _parse(arguments)
    read = CommandLine(
        (parsed.config_name or "config").removesuffix(".yaml"),
        Path(parsed.config_dir) if parsed.config_dir else folder,
        [quoted(word) for word in parsed.overrides],
        [quoted(word) if word in parsed.overrides else word for word in arguments],
    )
    if parsed.config_dir and not Path(parsed.config_dir).is_dir():
        raise UserError(f"-cd {parsed.config_dir}: no such folder; sweeps/ of a checkout holds tables of runs")
    problems: list[str] = []
    composer = read.composer
    check_hparams_files(composer.folders)
    if read.name not in (names := composer.names()):
        sweep = read.name if (sweeps_dir() / f"{read.name}.yaml").is_file() else "vtab1k"
        hint = "" if read.folder else f"a sweep is given with its folder, as in -cd sweeps -cn {sweep}"
        problems.append(unknown_text("configuration (-cn)", parsed.config_name, names, hint))
    packages = {"_global_", "hydra", "method", *SECTIONS}
    if parsed.package and parsed.package.partition(".")[0] not in packages:
        problems.append(unknown_text("package (-p)", parsed.package, packages))
    overrides: list[Override] = []
    for word in read.words:
        if not is_one_line(word):
            problems.append(f"cannot read the argument {word!a}: it has a line break or a control character")
            continue
        try:
            overrides.append(parse_override(word))
        except UserError as error:
            problems.append(str(error))
    checks = _Checks(read, overrides, method_class)
    for override in overrides:
        problems += checks.problems(override)
    if problems:
        raise UserError(problems_of(problems))
    return read


def launchers(folders: Iterable[Path] = ()) -> list[str]:
    """What ``hydra/launcher=`` can be: the files of conf/ and `folders`, and what installed Hydra plugins bring."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.object_type import ObjectType
    from hydra.core.plugins import Plugins

    Plugins.instance()  # imports the plugins, which store their configurations
    store = ConfigStore.instance()
    stored = store.list("hydra/launcher") if store.get_type("hydra/launcher") == ObjectType.GROUP else []
    files = [path.name for folder in (conf_dir(), *folders) for path in (folder / "hydra/launcher").glob("*.yaml")]
    return sorted({name.removesuffix(".yaml") for name in (*stored, *files)})


def _with_shipped_sweeps(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``-cd sweeps`` naming the sweeps that the package brings, where there is no such folder."""
    before = ("", *arguments)
    return [
        f"{flag}{equals}{sweeps_dir()}"
        if folder == "sweeps" and (flag or previous) in ("-cd", "--config-dir")
        else word
        for previous, word in zip(before, arguments, strict=False)
        for flag, equals, folder in [word.rpartition("=")]
    ]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags of hydra.main that are of use here, and the overrides."""
    parser = argparse.ArgumentParser(add_help=False)

    def refuse(message: str) -> NoReturn:
        order = "flags such as -m and -cn come first, then name=value"
        raise UserError(f"{message}; {order}; see python -m aoft_bench --help")

    parser.error = refuse  # type: ignore[method-assign]
    parser.add_argument("overrides", nargs="*")
    for names in (("--hydra-help",), ("--version",), ("--resolve",), ("--run", "-r"), ("--multirun", "-m")):
        parser.add_argument(*names, action="store_true")
    for names in (("--package", "-p"), ("--config-name", "-cn"), ("--config-dir", "-cd")):
        parser.add_argument(*names)
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    kinds = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=kinds)
    parsed = parser.parse_args(arguments)
    given = {"--run": parsed.run, "-m": parsed.multirun, "--cfg": parsed.cfg, "--info": parsed.info}
    if len(flags := [flag for flag, value in given.items() if value]) > 1:
        refuse(f"got {' and '.join(flags)}, of which one can be given")
    if (parsed.resolve or parsed.package) and not parsed.cfg:
        refuse(f"got {'--resolve' if parsed.resolve else '--package'}, which goes with --cfg job")
    return parsed


class _Checks:
    """Checks of single overrides."""

    def __init__(self, read: CommandLine, overrides: list[Override], method_class: MethodClass) -> None:
        self._read, self._method_class = read, method_class
        self._composer = read.composer
        self._groups = self._composer.groups()
        self._asked = [str(v) for o in overrides if o.key_or_group == "method" for v in _values(o)]

    def problems(self, override: Override) -> list[str]:
        """What is wrong with an override, one text each."""
        key = override.key_or_group
        section, _, name = key.partition(".")
        if key == "hydra/launcher":
            known = launchers(self._composer.folders)
            return _unknown(override, "launcher", known, "docs/clusters.md says what each is for")
        if key == "hydra.searchpath":
            return ["hydra.searchpath is not searched: give a folder of configurations by -cd"]
        if key.startswith(("hydra.", "hydra/")):
            empty = f"{key}: got '', give a value, or leave it out for its default"
            return [empty] if override.value() == "" else []  # Hydra checks its own options
        if problem := interpolation_problem(key, str(override.input_line).partition("=")[2]):
            return [problem]
        if key in self._groups:
            hint = f"`aoft-bench list {key}s` shows them" if key in ("method", "dataset", "backbone") else ""
            return _unknown(override, key, self._composer.choices(key), hint)
        if not name:
            return self._of_no_section(key, override)
        if section == "method":
            return self._of_method(name, override)
        if section not in SECTIONS:
            return [unknown_text("section", section, {*SECTIONS, "method"})]
        options = _fields(SECTIONS[section])
        if name not in options:
            return [unknown_text(f"option of {section}", name, options)]
        return _wrong(override, lambda value: check_value(SECTIONS[section], name, value, section))

    def _of_no_section(self, key: str, override: Override) -> list[str]:
        scalars = _fields(Scalars)
        if key in scalars:
            return _wrong(override, lambda value: check_value(Scalars, key, value, ""))
        if key == "name" and "peft" in self._methods():
            given = str(override.input_line).partition("=")[2]
            return [f"unknown name 'name'; the tuner of peft is chosen by method.tuner={given}"]
        paths = {f"{section}.{option}" for section, cls in SECTIONS.items() for option in _fields(cls)}
        return [unknown_text("name", key, {*self._groups, *scalars, *paths})]

    def _of_method(self, name: str, override: Override) -> list[str]:
        if name == "label":
            return []  # any row's name; checked with the whole
        name, _, entry = name.partition(".")
        names = self._methods()
        classes = [self._method_class(method) for method in names]
        having = [cls for cls in classes if name in _fields(cls)]
        if not having:
            options = sorted({option for cls in classes for option in _fields(cls)})
            which = f"method {names[0]}" if len(names) == 1 else "the methods"
            if options == ["blocks"]:  # which all have
                return [f"unknown option of {which} {name!r}: it has no options but method.blocks"]
            # the one option that all methods have is not shown before those that this one has
            if difflib.get_close_matches(name, ["blocks"], cutoff=0.5):
                return [unknown_text(f"option of {which}", name, options)]
            own = [option for option in options if option != "blocks"]
            return [unknown_text(f"option of {which}", name, own, "all methods have method.blocks too")]
        if entry:
            return []  # of a dictionary; checked with the whole
        return _wrong(override, lambda value: check_value(having[0], name, value, "method"))

    def _methods(self) -> list[str]:
        """The methods whose options may be meant: those asked for, else what the primary configuration may choose."""
        folders = self._composer.folders[1:]
        known = choices.choices(folders)
        asked = [name for name in self._asked if name in known]
        if not asked and self._read.name == "config":
            return ["aoft"]  # of conf/config.yaml
        return list(dict.fromkeys(self._method_of(choice, folders) for choice in asked or known))

    def _method_of(self, choice: str, folders: list[Path]) -> str:
        try:
            self._method_class(choice)
        except UserError:
            return choices.read(choice, folders)[0]
        return choice  # most are files of methods themselves, which need not be composed


def _fields(cls: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _wrong(override: Override, check: Callable[[Any], list[str]]) -> list[str]:
    return [problem for value in _values(override) for problem in check(value)]


def _unknown(override: Override, kind: str, known: list[str], hint: str) -> list[str]:
    return [unknown_text(kind, value, known, hint) for value in _values(override) if str(value) not in known]


def _values(override: Override) -> list[Any]:
    """The value of an override, or all of them where it is a sweep; interpolations are left to the composer."""
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    plain = [_plain(value) for value in values]
    return [value for value in plain if not (isinstance(value, str) and "${" in value)]


def _plain(value: Any) -> Any:
    """A value of a sweep, without the quotes of its texts."""
    return [_plain(v) for v in value] if isinstance(value, list) else getattr(value, "text", value)
