"""What a worker process needs of a sweep, and how it runs a cell of it and is stopped."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from aoft_bench.experiments.sweep import Job, note

TOLD_TO_STOP = 128 + signal.SIGTERM  # the exit code of a process that was told to stop

Numbered = tuple[int, list[str]]  # a cell: its number in the sweep and its overrides


@dataclass(frozen=True)
class Sweep:
    """A sweep, as it is sent to the workers. argv, folder: of the process that the user started."""

    config: DictConfig
    context: HydraContext
    task: TaskFunction
    state: Any
    argv: list[str]
    folder: Path

    @classmethod
    def here(cls, config: DictConfig, context: HydraContext, task: TaskFunction) -> "Sweep":
        return cls(config, context, task, Singleton.get_state(), list(sys.argv), Path.cwd())

    def enter(self) -> None:
        """Make this process like the one that the user started: Hydra's state, arguments, working folder."""
        setup_globals()
        Singleton.set_state(self.state)
        sys.argv = list(self.argv)
        os.chdir(self.folder)

    def run(self, cell: Numbered) -> None:
        """Run a cell in this process. `SystemExit` of a signal comes out; what goes wrong otherwise is noted."""
        number, overrides = cell
        try:
            config = self.context.config_loader.load_sweep_config(self.config, overrides)
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            HydraConfig.instance().set_config(config)
            done = run_job(
                hydra_context=self.context,
                task_function=self.task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            _ = done.return_value  # raises what the cell raised
        except Exception as error:
            self.failed(cell, " ".join(f"{type(error).__name__}: {error}".split()))

    def failed(self, cell: Numbered, problem: str) -> None:
        """Note that a cell failed, for the summary, where it could not do so itself."""
        job = Job(cell[1], "failed", problem=problem)
        say(f"[{job.name}] {problem}")
        try:
            note(self.notes, cell[0], job)
        except OSError as error:  # without a note the summary says that the cell is missing
            say(f"[{job.name}] this cannot be noted: {error}")

    def noted(self, cell: Numbered) -> bool:
        """Whether it is known how a cell of this sweep ended."""
        return (self.notes / f"{cell[0]}.json").is_file()

    @property
    def notes(self) -> Path:
        return Path(self.config.hydra.sweeper.notes)


def stop_on(*signals: signal.Signals) -> None:
    """Let these signals end the cell that runs: `SystemExit(143)` comes out of it. For a process's main thread."""
    for number in signals:
        signal.signal(number, lambda *_: sys.exit(TOLD_TO_STOP))


def leave(code: int) -> None:
    """End this process now: its engine must see that it died, and not send it another cell."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def say(text: str) -> None:
    """A line for the user, on stderr."""
    print(f"aoft_bench: {text}", file=sys.stderr, flush=True)


def returned(cells: list[Numbered]) -> list[JobReturn]:
    """What Hydra's sweeper wants of each cell. How it ended is in its note."""
    return [JobReturn(overrides=overrides, status=JobStatus.COMPLETED) for _, overrides in cells]
