"""Composes the files of conf/ and the words of a command line into one tree of plain values, by Hydra's compose API."""

import functools
import itertools
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aoft_bench.config.folders import conf_dir
from aoft_bench.config.interpolations import check_interpolations, resolved
from aoft_bench.config.method_packages import conf_folders
from aoft_bench.config.origins import PARTS, Origins
from aoft_bench.config.parsed_files import ParsedFiles
from aoft_bench.utils.errors import UserError, system_problem, unknown
from aoft_bench.utils.parallel import cores, run_jobs
from aoft_bench.utils.text import shown

Tree = dict[str, Any]

MOST = 100_000  # values of one name in a sweep
MANY = 24  # compositions that are worth starting further processes, which import Hydra first

# no choices in these groups of Hydra's own options, which would take as long to compose as all of ours
_HYDRA_GROUPS = ("env", "help", "hydra_help", "hydra_logging", "job_logging", "launcher", "output", "sweeper")
_WITHOUT = [f"hydra/{group}=[]" for group in _HYDRA_GROUPS]

_folders: ContextVar[Sequence[Path] | None] = ContextVar("folders", default=None)


class ComposerFolders(SearchPathPlugin):
    """Lets Hydra read conf/ by `ParsedFiles`, and search after it folders of installed methods and of a Composer."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for element in search_path.get_path():
            if element.path == str(conf_dir()):
                element.path = f"parsed://{element.path}"
        installed = conf_folders()
        for folder in installed if (given := _folders.get()) is None else given:
            provider = "methods" if folder in installed else "command-line"
            search_path.append(provider, f"parsed://{folder.resolve()}")


def register_plugins() -> None:
    """Make Hydra use `ComposerFolders`, in hydra.main too."""
    for plugin in (ComposerFolders, ParsedFiles):
        Plugins.instance().register(plugin)


class Composer:
    """Composes configurations of conf/, of installed methods (`method_packages`), and of further folders, such as that
    of -cd; of files of one name the first wins."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = list(dict.fromkeys([conf_dir(), *conf_folders(), *folders]))
        self._files: dict[tuple[str, ...], list[tuple[str, Tree]]] = {}  # by name and the words that choose files

    def choices(self, group: str) -> list[str]:
        """The files of a group, by the names that ``group=`` takes, sorted."""
        inside = [folder / group for folder in self.folders]
        return sorted({str(p.relative_to(f).with_suffix("")) for f in inside for p in f.rglob("*.yaml")})

    def groups(self) -> list[str]:
        """The names of the groups, sorted: the folders of folders."""
        return sorted({path.name for folder in self.folders for path in folder.iterdir() if path.is_dir()})

    def names(self) -> list[str]:
        """The primary configurations, sorted: what -cn takes."""
        return sorted({path.stem for folder in self.folders for path in folder.glob("*.yaml") if path.is_file()})

    def compose(self, name: str = "config", words: Iterable[str] = ()) -> Tree:
        """The configuration `name` with overrides, interpolations resolved, without Hydra's own options.

        Raises `UserError` for a file or a name that does not exist, and for an interpolation that `resolved` refuses.
        """
        words = list(words)
        return self.scaled(resolved(self.compose_unresolved(name, words)), name, words)[0]

    def scaled(self, tree: Tree, name: str, words: Sequence[str]) -> tuple[Tree, str]:
        """(the tree of `name` and overrides with the warm-up for its epochs, a line that says so): `Origins.scaled`."""
        recipe = tree.get("recipe")
        if not isinstance(recipe, dict) or type(recipe.get("epochs")) is not int or not any(map(recipe.get, PARTS)):
            return tree, ""
        return self.origins(name, words).scaled(tree)

    def origins(self, name: str, words: Sequence[str]) -> Origins:
        """The files that the configuration `name` is made of, with overrides."""
        keys = [parse_override(word).key_or_group for word in words]
        groups = self.groups()
        choices = [word for word, key in zip(words, keys, strict=True) if key in groups]
        if (at := (name, *choices)) not in self._files:
            self._files[at] = list(self._files_of(name, choices))
        return Origins(self._files[at], frozenset(keys))

    def _files_of(self, name: str, choices: list[str]) -> Iterator[tuple[str, Tree]]:
        """(path, content) of the files of a configuration, in the order in which they are merged."""
        with self._hydra():
            loader: Any = GlobalHydra.instance().config_loader()
            chosen = loader.compute_defaults_list(name, choices + _WITHOUT, RunMode.RUN).defaults
            for entry in chosen:
                read = loader.repository.load_config(entry.config_path)
                folder = Path(read.path.partition("://")[2])
                if not folder.is_dir():
                    continue  # Hydra's own
                content: Any = OmegaConf.to_container(read.config)
                for section in reversed((entry.package or "").split(".") if entry.package else []):
                    content = {section: content}
                yield f"{folder.name}/{entry.config_path}.yaml", content

    def compose_jobs(self, name: str, jobs: Sequence[Sequence[str]]) -> Iterator[Tree]:
        """What `compose` gives for the overrides of each job of a sweep, in order.

        Jobs that choose the same files are composed once, at once, by several processes if there are many; what else
        they differ in is put into a copy when it is asked for, since thousands of trees take hundreds of megabytes.
        """
        groups = self.groups()
        split = [_split_values(job, groups) for job in jobs]
        different = list(dict.fromkeys(others for others, _ in split))
        compositions = [functools.partial(self.compose_unresolved, name, list(words)) for words in different]
        processes = cores() if len(different) >= MANY else 1
        with self._hydra():
            trees = dict(zip(different, run_jobs(processes, compositions), strict=True))

        def tree_of(job: Sequence[str], others: tuple[str, ...], values: Mapping[str, Any]) -> Tree:
            tree = _with_values(trees[others], values)
            return self.compose(name, job) if tree is None else self.scaled(resolved(tree), name, list(job))[0]

        return (tree_of(job, *parts) for job, parts in zip(jobs, split, strict=True))

    def compose_unresolved(self, name: str, words: list[str]) -> Tree:
        """What `compose` gives, but for interpolations, which stay as they are written."""
        with self._hydra():
            ours = [word for word in words if not parse_override(word).is_hydra_override()]
            tree = compose(name, ours + _WITHOUT)
            return OmegaConf.to_container(tree)  # type: ignore[return-value]

    def sweep_params(self, name: str) -> dict[str, str]:
        """hydra.sweeper.params of a primary configuration; empty if it is no sweep.

        Raises `UserError` for interpolations that would make other cells at another time or place, and for further
        folders, whose files nothing has checked.
        """
        with self._hydra():
            of_hydra = compose(name, return_hydra_config=True).hydra
            if of_hydra.searchpath:
                raise UserError(
                    f"{name}.yaml: hydra.searchpath is not searched: give a folder of configurations by -cd"
                )
            sweeper = of_hydra.sweeper
            check_interpolations("hydra.sweeper", OmegaConf.to_container(sweeper))
            return {key: str(value) for key, value in (sweeper.get("params") or {}).items()}

    @contextmanager
    def user_errors(self) -> Iterator[None]:
        """Whatever Hydra and OmegaConf raise within is raised as a `UserError` of one line.

        They check little of what files and arguments hold: a wrong one ends in an assertion, a TypeError, a recursion
        without end. What our own code raises when Hydra calls it, such as a cell, is left as it is.
        """
        try:
            with warnings.catch_warnings():
                # Hydra's, of a file without _self_ in its defaults: it comes last there, as one expects
                warnings.filterwarnings("ignore", ".*missing `_self_`", UserWarning)
                yield
        except Exception as error:
            if isinstance(error, UserError) or _is_ours(error):
                raise
            raise self._user_error(error) from error

    def _user_error(self, error: Exception) -> UserError:
        said = [str(error), str(error.__cause__ or "").partition("\n")[0]]
        text = ": ".join(" ".join(part.split()) for part in said if part) or type(error).__name__
        if isinstance(error, MissingConfigException):
            group, _, choice = str(error.missing_cfg_file).partition("/")
            if not choice:
                return unknown("configuration (-cn)", group, self.names())
            return unknown(group, choice, self.choices(group))
        if isinstance(error, yaml.YAMLError):
            return UserError(f"a configuration file is not YAML: {text}")
        if isinstance(error, UnicodeDecodeError):
            return UserError(f"a configuration file is not UTF-8: {', '.join(self._not_utf8())}; save it as UTF-8")
        if isinstance(error, RecursionError):
            return UserError(
                "the configuration has no end: files name each other in their defaults, or a value is nested too "
                "deeply; name in `defaults` only what does not lead back"
            )
        if isinstance(error, HydraException | OmegaConfBaseException):
            return UserError(f"{text}; `aoft-bench run --help` shows how to ask")
        if isinstance(error, OSError) and error.errno:
            return UserError(system_problem(error))
        if isinstance(error, OSError):  # of OmegaConf, for a file that holds a number or a text
            text = f"a file holds no `name: value` ({text})"
        return UserError(f"cannot compose the configuration: {text}")

    def _not_utf8(self) -> Iterator[str]:
        """The files of these folders that are not UTF-8."""
        for path in (path for folder in self.folders for path in folder.rglob("*.yaml") if path.is_file()):
            try:
                path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                yield str(path)

    @contextmanager
    def _hydra(self) -> Iterator[None]:
        """Hydra's global state, in which `compose` finds the files, as long as the context lasts. It can be entered
        again inside, also by processes that are forked there, and within a run of hydra.main, whose state is put back.
        """
        with self.user_errors():
            if _folders.get() == self.folders[1:]:
                yield
                return
            register_plugins()
            token = _folders.set(self.folders[1:])
            of_sweep, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
            try:
                with initialize_config_dir(str(self.folders[0]), version_base="1.3"):
                    yield
            finally:
                GlobalHydra.instance().hydra = of_sweep
                _folders.reset(token)


@functools.cache
def parse_override(word: str) -> Override:
    """A word ``name=value`` in Hydra's grammar; raises `UserError` for what is none."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except (HydraException, ValueError, RecursionError):  # the last two for numbers and lists of any length
        name, equals, value = word.partition("=")
        quote = f"; a text with any of []{{}}()'\" goes in quotes, as in '{name}=\"a (1)\"'" if equals and value else ""
        raise UserError(
            f"cannot read the argument {shown(word)}: give name=value, as in method=aoft or recipe.lr=1e-3{quote}"
        ) from None
    listed = override.is_discrete_sweep() and override.value_type is not ValueType.GLOB_CHOICE_SWEEP
    if override.is_sweep_override() and not listed:
        raise UserError(
            f"cannot sweep over {shown(word)}: give the values one by one, as in {override.key_or_group}=A,B"
        )
    if listed:
        _check_sweep(override)
    return override


def _check_sweep(override: Override) -> None:
    """Raise `UserError` for a range that has no values, no end, or more values than anyone wants."""
    try:
        count = sum(1 for _ in itertools.islice(override.sweep_iterator(), MOST + 1))
    except (HydraException, ArithmeticError, ValueError) as error:
        raise UserError(f"cannot sweep over {shown(override.input_line)}: {error}") from None
    if not 1 <= count <= MOST:
        number = f"more than {MOST:,}" if count else "no"
        raise UserError(f"cannot sweep over {shown(override.input_line)}: it has {number} values, give 1 to {MOST:,}")


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


def _is_ours(error: Exception) -> bool:
    """Whether code of this package that Hydra called raised an exception, other than reading the files."""
    names = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    of_hydra = itertools.dropwhile(lambda name: not name.startswith("hydra."), names)
    return any(name.startswith("aoft_bench.") and name != ParsedFiles.__module__ for name in of_hydra)


def first_of_each_choice(jobs: Sequence[Sequence[str]], groups: Iterable[str]) -> list[Sequence[str]]:
    """The first job of a sweep, and the first of each further choice of a file: the fewest in which all occur."""
    seen: set[str] = set()
    first: list[Sequence[str]] = []
    for job in jobs:
        words = {word for word in job if word.partition("=")[0].partition("@")[0] in groups}
        if not first or not words <= seen:
            first.append(job)
        seen |= words
    return first


def _split_values(job: Sequence[str], groups: Iterable[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The overrides of a job for Hydra, and the plain values that can be put into the composed tree afterwards.

    None can be where a dictionary is given too, since then their order decides.
    """
    others, values = [], {}
    for word in job:
        override = parse_override(word)
        name, value = override.key_or_group, override.value()
        if isinstance(value, dict):
            return tuple(job), {}
        replaces = name == word.partition("=")[0] and name not in groups
        if replaces and (value is None or isinstance(value, int | float) or _is_plain_text(value)):
            values[name] = value
        else:
            others.append(word)
    return tuple(others), values


def _is_plain_text(value: Any) -> bool:
    return isinstance(value, str) and "$" not in value and "\\" not in value and value != "???"


def _with_values(tree: Tree, values: Mapping[str, Any]) -> Tree | None:
    """A composed tree with values replaced by their dotted names; None if one is not there. `tree` stays as it is."""
    replaced = dict(tree)
    for name, value in values.items():
        *sections, last = name.split(".")
        at: Any = replaced
        for section in sections:
            if not isinstance(at.get(section), dict):
                return None
            at[section] = dict(at[section])
            at = at[section]
        if last not in at or isinstance(at[last], dict | list):
            return None
        at[last] = value
    return replaced
