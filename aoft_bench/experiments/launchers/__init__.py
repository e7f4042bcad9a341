"""Sweeps on several processes and machines: hydra/launcher=joblib, submitit_slurm or ray (docs/clusters.md).

A launcher deals out the cells of a sweep; what becomes of them is in the results folder, not in what comes back. Each
worker process imports torch once and runs several cells.
"""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aoft_bench.config.check import check, problems_of
from aoft_bench.config.schema import conf_dir
from aoft_bench.utils.errors import UserError


def names(folders: Iterable[Path] = ()) -> list[str]:
    """What `hydra/launcher=` can be: basic (one process), ours, and those of other Hydra plugins that are installed.

    folders: further folders of configurations, such as that of -cd.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.object_type import ObjectType
    from hydra.core.plugins import Plugins

    Plugins.instance()  # imports the plugins, which store their configurations
    store = ConfigStore.instance()
    stored = store.list("hydra/launcher") if store.get_type("hydra/launcher") == ObjectType.GROUP else []
    files = [path.name for folder in (conf_dir(), *folders) for path in (folder / "hydra/launcher").glob("*.yaml")]
    return sorted({name.removesuffix(".yaml") for name in (*stored, *files)})


def checked(cls: type, options: dict[str, Any]) -> Any:
    """The options of a launcher as its dataclass; one `UserError` that lists all that is wrong with them."""
    plain = {name: _plain(value) for name, value in options.items()}
    problems = check(cls, plain, "hydra.launcher")
    if problems:
        raise UserError(problems_of(problems))
    return cls(**plain)


def package(name: str, launcher: str) -> Any:
    """An optional package, imported; `UserError` that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"hydra/launcher={launcher} needs the package {name}: pip install -e '.[cluster]'; "
            "hydra/launcher=joblib needs nothing more"
        ) from None


def _plain(value: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
