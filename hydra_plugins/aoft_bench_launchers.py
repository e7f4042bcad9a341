"""The launchers of aoft_bench, in the namespace where Hydra looks for plugins. Hydra imports this file at start-up."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class _CellLauncher(Launcher):
    """Calls ``launch`` of a module in experiments.launchers with the cells and the options of conf/hydra/launcher."""

    def __init__(self, engine: str, options: dict[str, Any]) -> None:
        self.engine, self.options = engine, options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        from aoft_bench.experiments.launchers.worker import Sweep

        sweep = Sweep.here(self.config, self.hydra_context, self.task_function)
        cells = [(initial_job_idx + i, list(overrides)) for i, overrides in enumerate(job_overrides)]
        launch = import_module(f"aoft_bench.experiments.launchers.{self.engine}").launch
        return list(launch(sweep, cells, self.options))


class JoblibLauncher(_CellLauncher):
    """hydra/launcher=joblib"""

    def __init__(self, **options: Any) -> None:
        super().__init__("joblib", options)


class SlurmLauncher(_CellLauncher):
    """hydra/launcher=submitit_slurm"""

    def __init__(self, **options: Any) -> None:
        super().__init__("slurm", options)


class RayLauncher(_CellLauncher):
    """hydra/launcher=ray"""

    def __init__(self, **options: Any) -> None:
        super().__init__("ray", options)


class OurNames(SearchPathPlugin):
    """Removes the options that other installed plugins registered under the names of our launchers.

    Hydra would check our files against those options and refuse them. Acts in processes of aoft_bench only.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if "aoft_bench.config.schema" in sys.modules:
            stored = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
            for name in ("joblib", "submitit_slurm", "ray"):
                stored.pop(f"{name}.yaml", None)
