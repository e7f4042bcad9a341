"""hydra/launcher=ray: workers (actors) of a Ray cluster, or of a Ray on this machine alone, run several cells each."""

import os
import signal
from dataclasses import dataclass
from typing import Annotated, Any

from hydra.core.utils import JobReturn
from pydantic import Field

from aoft_bench.experiments.launchers import checked, package
from aoft_bench.experiments.launchers.worker import TOLD_TO_STOP, Numbered, Sweep, leave, returned, say, stop_on
from aoft_bench.utils.errors import UserError, message_of


@dataclass(frozen=True)
class Options:
    """conf/hydra/launcher/ray.yaml"""

    address: str | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = None
    retries: Annotated[int, Field(ge=0)] = 3


class Worker:
    """A process of Ray's that runs cells. One that is told to stop dies, so that Ray starts another for its cell."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        stop_on(signal.SIGTERM)
        sweep.enter()

    def ready(self) -> None:
        """Returns when the worker has started."""

    def run(self, cell: Numbered) -> None:
        try:
            self.sweep.run(cell)
        except SystemExit:
            leave(TOLD_TO_STOP)


def launch(sweep: Sweep, cells: list[Numbered], options: dict[str, Any]) -> list[JobReturn]:
    """Run the cells on Ray's workers and wait for them. Raises `UserError` where no Ray answers at the address."""
    chosen: Options = checked(Options, options)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = package("ray", "ray")
    started_here = not ray.is_initialized()
    if started_here:
        _connect(ray, chosen)
    try:
        _run(ray, sweep, cells, chosen)
    finally:
        if started_here:
            ray.shutdown()
    return returned(cells)


def _connect(ray: Any, options: Options) -> None:
    own = {}
    if not (options.address or os.environ.get("RAY_ADDRESS")):
        own = {"include_dashboard": False}
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves workers where other things run
    try:
        ray.init(address=options.address, logging_level="error", log_to_driver=True, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"no Ray at hydra.launcher.address={options.address}: {' '.join(str(error).split())}; "
            "start one with `ray start --head`, or leave the address out"
        ) from None


def _run(ray: Any, sweep: Sweep, cells: list[Numbered], options: Options) -> None:
    """Give each worker that is free the next cell, until all are done."""
    gpus, workers = _room(ray.cluster_resources(), options)
    workers = min(workers, len(cells))
    # a worker that died, with a preempted node for instance, is started again elsewhere, with the cell it had
    kind = ray.remote(Worker).options(
        num_cpus=options.cpus_per_worker, num_gpus=gpus, max_restarts=-1, max_task_retries=options.retries
    )
    say(f"Ray: {len(cells)} cells on {workers} workers")
    started = [kind.remote(sweep) for _ in range(workers)]
    waiting: dict[Any, tuple[Any, Numbered | None]] = {worker.ready.remote(): (worker, None) for worker in started}
    left, running = list(reversed(cells)), 0
    while left or running:
        if not waiting:
            raise UserError("no worker of Ray could be started; its reason is above")
        (reply,), _ = ray.wait(list(waiting), num_returns=1)
        worker, cell = waiting.pop(reply)
        running -= cell is not None
        lost = _lost(ray, reply)
        if lost and cell is None:
            say(f"a worker could not be started: {lost}")
            continue
        if lost and cell is not None:
            sweep.failed(cell, f"its worker died {options.retries + 1} times: {lost}")
        if left:
            cell = left.pop()
            waiting[worker.run.remote(cell)] = (worker, cell)
            running += 1


def _room(has: dict[str, float], options: Options) -> tuple[float, int]:
    """GPUs of a worker, and how many workers were asked for or have room; `UserError` if none has."""
    cpus, gpus = options.cpus_per_worker, options.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if has.get("GPU", 0) >= 1 else 0.0
    room = int(min(has.get("CPU", 0) / cpus, has.get("GPU", 0) / gpus if gpus else float("inf")))
    if not (options.workers or room):
        raise UserError(
            f"no room for a worker of {cpus:g} CPUs and {gpus:g} GPUs: Ray has {has.get('CPU', 0):g} and "
            f"{has.get('GPU', 0):g}; change hydra.launcher.cpus_per_worker or gpus_per_worker, or, where the cluster "
            "can grow, give hydra.launcher.workers"
        )
    return gpus, options.workers or room


def _lost(ray: Any, reply: Any) -> str:
    """Why there is no reply of a worker; empty if there is one."""
    try:
        ray.get(reply)
    except ray.exceptions.RayError as error:
        return message_of(error)
    return ""
