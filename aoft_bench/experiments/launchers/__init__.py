"""Sweeps on several processes and machines: hydra/launcher=joblib, submitit_slurm or ray (docs/clusters.md).

A launcher deals out the cells of a sweep to worker processes, which import torch once and run several cells each. It
returns nothing about them: results are files.
"""

import importlib
from typing import Any

from omegaconf import OmegaConf

from aoft_bench.config.check import check, problems_of
from aoft_bench.utils.errors import UserError


def checked(cls: type, options: dict[str, Any]) -> Any:
    """The options of a launcher as its dataclass; one `UserError` that lists all that is wrong with them."""
    plain = {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in options.items()
    }
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
