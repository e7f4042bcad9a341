"""The sweeper and the launchers of aoft_bench, where Hydra looks for plugins. Hydra imports this file at start-up."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class SweeperOptions:
    """hydra.sweeper. notes: the folder where the cells note how they ended; each sweep makes one of its own."""

    _target_: str = "hydra_plugins.aoft_bench_launchers.CellSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    notes: str | None = None


class CellSweeper(Sweeper):
    """The cells of a sweep: the product of all values, in order. Ends the process with the exit code of the sweep.

    Hydra's own sweeper composes every cell before the first one starts, which takes minutes for thousands. This one
    composes the first cell of each choice of a file; a cell that cannot be composed for another reason fails alone.
    """

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None, notes: str | None) -> None:
        self.max_batch_size, self.params = max_batch_size, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> NoReturn:
        """Run the cells and print their summary. arguments: the words of the command line, which win over `params`."""
        from aoft_bench.cli.run import end_of_sweep, skip_done
        from aoft_bench.config.compose import first_of_each_choice, jobs_of
        from aoft_bench.experiments.sweep import plan

        jobs = jobs_of(self.params, arguments)
        done, left = skip_done(self.config, jobs)
        self.validate_batch_is_legal(first_of_each_choice(left, self.hydra_context.config_loader.list_groups("")))
        notes = self._make_folder()
        plan(notes, len(left))
        size = max(0, self.max_batch_size or 0) or len(jobs)
        for start in range(0, len(left), size):
            self.launcher.launch(left[start : start + size], initial_job_idx=start)
        sys.exit(end_of_sweep(notes, left, done))

    def _make_folder(self) -> Path:
        """Make the sweep's folder, and in it one for the notes of its cells, who are told by an override of Hydra's.

        It is new, since an earlier sweep, or another process, may have the same hydra.sweep.dir, and absolute: what a
        cell itself makes of hydra.sweep.dir depends on its values and on its working folder.
        """
        from aoft_bench.utils.files import check_writable, write_atomically

        folder = Path(str(self.config.hydra.sweep.dir))
        check_writable(folder / "multirun.yaml", "the notes of a sweep", "hydra.sweep.dir=DIR")
        write_atomically(folder / "multirun.yaml", lambda partial: OmegaConf.save(self.config, partial))
        notes = tempfile.mkdtemp(prefix="cells-", dir=folder.absolute())
        self.config.hydra.sweeper.notes = notes
        word = f"hydra.sweeper.notes={QuotedString(notes, Quote.single).with_quotes()}"
        self.config.hydra.overrides.hydra.append(word)
        return Path(notes)


class _CellLauncher(Launcher):
    """Calls ``launch`` of a module in experiments.launchers with the cells and the options of conf/hydra/launcher."""

    def __init__(self, engine: str, options: dict[str, Any]) -> None:
        self.engine, self.options = engine, options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        from aoft_bench.experiments.launchers.worker import Sweep
        from aoft_bench.utils.errors import UserError

        if "notes" not in self.config.hydra.sweeper:
            raise UserError("hydra/sweeper: cells can be swept by hydra/sweeper=basic only")
        sweep = Sweep.here(self.config, self.hydra_context, self.task_function)
        cells = [(initial_job_idx + i, list(overrides)) for i, overrides in enumerate(job_overrides)]
        launch = import_module(f"aoft_bench.experiments.launchers.{self.engine}").launch
        return list(launch(sweep, cells, self.options))


class SerialLauncher(_CellLauncher):
    """hydra/launcher=basic, the default"""

    def __init__(self, **options: Any) -> None:
        super().__init__("serial", options)


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


@dataclass
class SerialOptions:
    """hydra.launcher of hydra/launcher=basic"""

    _target_: str = "hydra_plugins.aoft_bench_launchers.SerialLauncher"


class OurNames(SearchPathPlugin):
    """Gives names of Hydra's groups to our plugins. Acts in processes of aoft_bench only.

    `basic`, which Hydra takes by default, are our sweeper and launcher. Options that other installed plugins registered
    under the names of our launchers are removed, since Hydra would check our files against them and refuse these.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if "aoft_bench.config.schema" in sys.modules:
            store = ConfigStore.instance()
            stored = store.repo.get("hydra", {}).get("launcher", {})
            for name in ("joblib", "submitit_slurm", "ray"):
                stored.pop(f"{name}.yaml", None)
            store.store(group="hydra/launcher", name="basic", node=SerialOptions, provider="aoft_bench")
            store.store(group="hydra/sweeper", name="basic", node=SweeperOptions, provider="aoft_bench")
