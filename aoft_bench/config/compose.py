"""Composes the files of conf/ and the words of a command line into one tree of plain values, by Hydra's compose API."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aoft_bench.config.interpolations import check_interpolations, resolved
from aoft_bench.config.schema import conf_dir
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.parallel import cores, run_jobs

Tree = dict[str, Any]

MANY = 24  # compositions that are worth starting further processes, which import Hydra first

# no choices in these groups of Hydra's own options, which would take as long to compose as all of ours
_HYDRA_GROUPS = ("env", "help", "hydra_help", "hydra_logging", "job_logging", "launcher", "output", "sweeper")
_WITHOUT = [f"hydra/{group}=[]" for group in _HYDRA_GROUPS]

_folders: ContextVar[Sequence[Path]] = ContextVar("folders", default=())


class FurtherFolders(SearchPathPlugin):
    """Lets Hydra search a Composer's further folders after conf/, as hydra.main does with that of --config-dir."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in _folders.get():
            search_path.append("command-line", f"file://{folder.resolve()}")


class Composer:
    """Composes configurations of conf/ and of further folders, such as that of -cd; files of conf/ win."""

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

    def compose(self, name: str = "config", words: Iterable[str] = ()) -> Tree:
        """The configuration `name` with overrides, interpolations resolved, without Hydra's own options.

        Raises `UserError` for a file or a name that does not exist, and for an interpolation that `resolved` refuses.
        """
        return resolved(self.compose_unresolved(name, list(words)))

    def compose_jobs(
        self, name: str, jobs: Sequence[Sequence[str]], meanwhile: Callable[[], object] | None = None
    ) -> list[Tree]:
        """What `compose` gives for the overrides of each job of a sweep, in several processes if there are many.

        Jobs that differ in their seed are composed once. meanwhile: called while other processes compose already.
        """
        split = [_split_seed(job) for job in jobs]
        different = list(dict.fromkeys(others for others, _ in split))
        compositions = [functools.partial(self.compose_unresolved, name, list(words)) for words in different]
        processes = cores() if len(different) >= MANY else 1
        trees = dict(zip(different, run_jobs(processes, compositions, meanwhile), strict=True))
        return [resolved(trees[others] | seed) for others, seed in split]

    def compose_unresolved(self, name: str, words: list[str]) -> Tree:
        """What `compose` gives, but for interpolations, which stay as they are written."""
        with self._hydra():
            ours = [word for word in words if not parse_override(word).is_hydra_override()]
            tree = compose(name, ours + _WITHOUT)
            return OmegaConf.to_container(tree)  # type: ignore[return-value]

    def sweep_params(self, name: str) -> dict[str, str]:
        """hydra.sweeper.params of a primary configuration; empty if it is no sweep.

        Raises `UserError` for interpolations that would make other cells at another time or place.
        """
        with self._hydra():
            sweeper = compose(name, return_hydra_config=True).hydra.sweeper
            check_interpolations("hydra.sweeper", OmegaConf.to_container(sweeper))
            return {key: str(value) for key, value in (sweeper.get("params") or {}).items()}

    @contextmanager
    def user_errors(self) -> Iterator[None]:
        """What Hydra and OmegaConf raise within is raised as a `UserError` of one line."""
        try:
            yield
        except MissingConfigException as error:
            group, _, choice = str(error.missing_cfg_file).partition("/")
            if not choice:
                raise unknown("configuration (-cn)", group, self.names()) from None
            raise unknown(group, choice, self.choices(group)) from None
        except yaml.YAMLError as error:
            raise UserError(f"a configuration file is not YAML: {' '.join(str(error).split())}") from None
        except (HydraException, OmegaConfBaseException) as error:
            text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
            raise UserError(f"{text}; `aoft-bench run --help` shows how to ask") from None

    @contextmanager
    def _hydra(self) -> Iterator[None]:
        """Hydra's global state, in which `compose` finds the files, as long as the context lasts."""
        Plugins.instance().register(FurtherFolders)
        token = _folders.set(self.folders[1:])
        try:
            with self.user_errors(), initialize_config_dir(str(self.folders[0]), version_base="1.3"):
                yield
        except ValueError as error:  # Hydra's, for a defaults list that has anything but names
            raise UserError(f"cannot compose the configuration: {error}") from None
        finally:
            _folders.reset(token)


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


def _split_seed(job: Sequence[str]) -> tuple[tuple[str, ...], Tree]:
    """The overrides of a job but that of the seed, and the seed by its name."""
    seeds = [parse_override(word).value() for word in job if word.startswith("seed=")]
    others = tuple(word for word in job if not word.startswith("seed="))
    return others, ({"seed": seeds[-1]} if seeds else {})
