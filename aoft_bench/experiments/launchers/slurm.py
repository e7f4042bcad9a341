"""hydra/launcher=submitit_slurm: an array of Slurm jobs, several cells to a job.

A job that is told to stop (SIGTERM of a preemption, submitit's SIGUSR2 before the time limit) stops its cell and puts
itself back into the queue; started again, it skips what is done. submitit alone ignores SIGTERM.
"""

import os
import pickle
import re
import shutil
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from hydra.core.utils import JobReturn
from pydantic import Field

from aoft_bench.experiments.launchers import checked, gpus, package
from aoft_bench.experiments.launchers.worker import TOLD_TO_STOP, Numbered, Sweep, returned, say, stop_on
from aoft_bench.utils.errors import UserError

_AT_LEAST_1 = Annotated[int, Field(ge=1)]
_THREADS = (  # srun does not take over sbatch's number, and torch would use all cores of the node
    'if [ -n "$SLURM_CPUS_PER_TASK" ]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK '
    "OMP_NUM_THREADS=${OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}; fi"
)


@dataclass(frozen=True)
class Options:
    """conf/hydra/launcher/submitit_slurm.yaml. What is not described there is sbatch's, by submitit's names."""

    cells_per_job: _AT_LEAST_1 = 20
    array_parallelism: _AT_LEAST_1 = 256
    max_requeues: Annotated[int, Field(ge=0)] = 100
    poll_seconds: Annotated[float, Field(gt=0)] = 30.0
    submitit_folder: str = "outputs/multirun/.submitit"
    name: str = "aoft_bench"
    timeout_min: _AT_LEAST_1 = 240
    signal_delay_s: _AT_LEAST_1 = 120
    nodes: _AT_LEAST_1 = 1
    tasks_per_node: _AT_LEAST_1 = 1
    cpus_per_task: _AT_LEAST_1 | None = None
    gpus_per_node: Annotated[int, Field(ge=0)] | str | None = None
    gpus_per_task: Annotated[int, Field(ge=0)] | str | None = None
    mem_gb: Annotated[float, Field(gt=0)] | None = None
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    comment: str | None = None
    setup: list[str] = field(default_factory=list)
    additional_parameters: dict[str, Any] = field(default_factory=dict)


_OURS = ("cells_per_job", "max_requeues", "poll_seconds", "submitit_folder")
_GENERAL = ("name", "timeout_min", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb")


def launch(sweep: Sweep, cells: list[Numbered], options: dict[str, Any]) -> list[JobReturn]:
    """Submit the cells as one array and wait for its end. Raises `UserError` where sbatch refuses it."""
    chosen: Options = checked(Options, options)
    missing = [program for program in ("sbatch", "srun", "squeue", "scontrol") if not shutil.which(program)]
    if missing:
        raise UserError(
            f"hydra/launcher=submitit_slurm: no {', '.join(missing)} here; start it where Slurm's commands are, "
            "or use hydra/launcher=joblib"
        )
    submitit = package("submitit", "submitit_slurm")
    groups = dealt(cells, chosen.cells_per_job)
    try:
        executor = submitit.AutoExecutor(folder=Path(chosen.submitit_folder).resolve(), cluster="slurm")
        executor.update_parameters(**_sbatch_parameters(chosen))
        jobs = executor.map_array(SlurmWork(sweep, chosen.max_requeues), groups)
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise UserError(f"Slurm refused the jobs: {' '.join(str(error).split())}") from None
    array = jobs[0].job_id.split("_")[0]
    logs = jobs[0].paths.folder
    say(f"Slurm job {array}: {len(cells)} cells in {len(jobs)} jobs; logs in {logs}")
    try:
        _wait(array, chosen.poll_seconds)
    except BaseException:
        say(f"the Slurm jobs go on without this process; scancel {array} ends them")
        raise
    broken = [job.job_id for job in jobs if not _finished(job)]
    if broken:
        say(f"Slurm jobs that ended before their last cell: {', '.join(broken)}; their logs are in {logs}")
    return returned(cells)


def dealt(cells: list[Numbered], cells_per_job: int) -> list[list[Numbered]]:
    """The cells, dealt out like cards: neighbours are often the same method, and slow ones shall not meet in a job."""
    jobs = -(-len(cells) // cells_per_job)
    return [cells[job::jobs] for job in range(jobs)]


def _sbatch_parameters(options: Options) -> dict[str, Any]:
    given = {k: v for k, v in asdict(options).items() if k not in _OURS and v is not None}
    given["setup"] = [_THREADS, *options.setup]
    given["additional_parameters"] = {"requeue": True, **options.additional_parameters}
    return {k if k in _GENERAL else f"slurm_{k}": v for k, v in given.items()}


def _wait(array: str, seconds: float) -> None:
    """Until no job of the array is pending or running. Needs no accounting database, unlike sacct."""
    command = ["squeue", "--noheader", "--jobs", array, "--format", "%i"]
    while True:
        done = subprocess.run(command, capture_output=True, text=True)
        # an error is no end: the controller may not answer now. But Slurm forgets jobs that have ended
        if not done.stdout.strip() if done.returncode == 0 else "Invalid job id" in done.stderr:
            return
        time.sleep(seconds)


def _finished(job: Any) -> bool:
    """Whether all tasks of a job came to the end of their cells."""
    paths = [job.task(i).paths.result_pickle for i in range(job.num_tasks)]
    return all(path.is_file() and pickle.loads(path.read_bytes())[0] == "success" for path in paths)


@dataclass(frozen=True)
class SlurmWork:
    """What a job does: called by submitit with the job's cells."""

    sweep: Sweep
    max_requeues: int

    def __call__(self, cells: list[Numbered]) -> None:
        task, tasks = int(os.environ.get("SLURM_PROCID", 0)), int(os.environ.get("SLURM_NTASKS", 1))
        gpus.pin(gpus.visible(), int(os.environ.get("SLURM_LOCALID", 0)))
        stop_on(signal.SIGTERM, signal.SIGUSR2)
        again = "SLURM_RESTART_COUNT" in os.environ
        try:
            self.sweep.enter()
            for cell in cells[task::tasks]:
                if not (again and self.sweep.noted(cell)):
                    self.sweep.run(cell)
        except SystemExit as stopped:
            if stopped.code == TOLD_TO_STOP:
                self._requeue()
            raise

    def _requeue(self) -> None:
        """Put this job back into the queue, unless Slurm is ending it (scancel), or it was put back too often."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # requeueing sends another
        job, times = os.environ["SLURM_JOB_ID"], int(os.environ.get("SLURM_RESTART_COUNT", 0))
        state = _run("squeue", "--noheader", "--jobs", job, "--format", "%T")
        if state != "RUNNING":
            say(f"told to stop; the job does not go back into the queue: it is {state or 'not known to Slurm'}")
        elif times >= self.max_requeues:
            say(f"told to stop; the job does not go back into the queue a {times + 1}th time (max_requeues)")
        else:
            say(f"told to stop; the job goes back into the queue {_run('scontrol', 'requeue', job)}".rstrip())


def _run(*words: str) -> str:
    """Output of a command of Slurm's, in one line, also if it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return re.sub(r"\s+", " ", done.stdout + done.stderr).strip()
