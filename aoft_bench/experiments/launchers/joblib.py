"""hydra/launcher=joblib: workers on this machine, each with a GPU of its own where there are several.

Each worker has its share of the CPU's cores (OMP_NUM_THREADS, unless it is set); trainer.threads wins.
"""

import os
import signal
import tempfile
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import joblib
from filelock import FileLock
from hydra.core.utils import JobReturn
from joblib.externals.loky.process_executor import ProcessPoolExecutor
from pydantic import Field

from aoft_bench.experiments.launchers import checked, gpus
from aoft_bench.experiments.launchers.worker import TOLD_TO_STOP, Numbered, Sweep, leave, returned, say, stop_on
from aoft_bench.utils.errors import UserError

_held: list[FileLock] = []  # the place of this worker, kept as long as it lives


@dataclass(frozen=True)
class Options:
    """conf/hydra/launcher/joblib.yaml"""

    workers: Annotated[int, Field(ge=1)] | None = None


def launch(sweep: Sweep, cells: list[Numbered], options: dict[str, Any]) -> list[JobReturn]:
    """Run the cells in worker processes; a worker that dies takes no other cell with it.

    joblib ends all workers when one dies. Cells that ran at that moment may be its reason (memory), so they run again
    when all others are done, one at a time; one whose worker dies then too is given up.
    """
    devices = gpus.visible()
    workers = min(checked(Options, options).workers or len(devices) or joblib.cpu_count(), len(cells))
    suspects: list[Numbered] = []
    left = list(cells)
    while left:
        left, died = _until_one_dies(sweep, left, workers, devices)
        suspects += died
    for cell in suspects:
        if any(_until_one_dies(sweep, [cell], 1, devices)):
            sweep.failed(cell, "its worker process was killed, twice; was there too little memory?")
    return returned(cells)


def _until_one_dies(
    sweep: Sweep, cells: list[Numbered], workers: int, devices: list[str]
) -> tuple[list[Numbered], list[Numbered]]:
    """Run cells until all are done or a worker dies; (not begun, running when it died)."""
    left = dict(cells)
    with tempfile.TemporaryDirectory(prefix="aoft_bench-") as name, ExitStack() as stack:
        folder = Path(name)
        pool = ProcessPoolExecutor(
            workers, env=_threads(workers), timeout=None, initializer=begin, initargs=(folder, workers, devices)
        )
        # at once: whatever ends a sweep early, a cell has its last epoch's checkpoint
        stack.callback(pool.shutdown, kill_workers=True)
        try:
            for future in as_completed([pool.submit(work, sweep, cell, folder) for cell in cells]):
                del left[future.result()]
        except BrokenProcessPool as error:
            running = {int(path.suffix[1:]) for path in folder.glob("running.*")} & left.keys()
            if not running and len(left) == len(cells):
                raise UserError(f"joblib's workers cannot start: {' '.join(str(error).split())}") from error
            say(f"a worker process died; cells that ran then run again at the end, one at a time: {len(running)}")
            return [c for c in cells if c[0] in left.keys() - running], [c for c in cells if c[0] in running]
    return [], []


def _threads(workers: int) -> dict[str, str]:
    """Environment that gives each worker its share of the cores, unless the user has set its variables."""
    share = str(max(1, joblib.cpu_count() // workers))
    return {
        name: os.environ.get(name, share) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }


def begin(folder: Path, workers: int, devices: list[str]) -> None:
    """Start of a worker: it takes a place, and with it a GPU. joblib's workers are the only ones that call it."""
    place, lock = gpus.take_place(folder, workers)
    _held[:] = [lock]
    gpus.pin(devices, place)


def work(sweep: Sweep, cell: Numbered, folder: Path) -> int:
    """A cell in a worker; its number. A signal ends the worker, after the cell has cleaned up."""
    note = folder / f"running.{cell[0]}"
    note.touch()
    try:
        stop_on(signal.SIGTERM)
        sweep.enter()
        sweep.run(cell)
    except (SystemExit, KeyboardInterrupt):
        leave(TOLD_TO_STOP)
    note.unlink()
    return cell[0]
