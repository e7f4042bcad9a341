"""Train one model in several worker processes of this machine, one for each device.

This process keeps the lock, the W&B run and the record. It trains nothing, so no collective operation can block it and
it can always end the workers. They run `aoft_bench.experiments.ddp_worker`, and end when this process ends, also by
kill -9. docs/ddp.md says why this is not torch's elastic launch.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import aoft_bench
from aoft_bench.config.schema import RunConfig
from aoft_bench.methods import Handle
from aoft_bench.records.code_version import code_digest
from aoft_bench.training.checkpoint import trained_state
from aoft_bench.training.job import TrainingResult
from aoft_bench.training.wandb import EpochLogger
from aoft_bench.utils.errors import UserError

Message = dict[str, Any] | None  # None: the worker has ended
Messages = queue.SimpleQueue[tuple[int, Message]]  # with the rank of the worker
Worker = subprocess.Popen[str]

PREPARED = "prepared.pt"  # where workers find what a method chose from training images
_SETTLE = 0.5  # seconds for the other workers to report, and for this process to get a signal meant for all


def fit_in_processes(
    config: RunConfig,
    handle: Handle,
    world_size: int,
    *,
    label: str,
    digest: str,
    checkpoint: Path,
    logger: EpochLogger | None,
    until: int | None = None,
) -> TrainingResult:
    """Train in `world_size` workers, and load what they trained into `handle` from the last epoch's checkpoint.

    digest: hash of the cell; workers that find other data or weights refuse to train. until: see `TrainingJob`. Raises
    `UserError` when a worker fails or dies; no worker is left then.
    """
    job: dict[str, Any] = {"config": config.as_dict(), "world_size": world_size, "logged": logger is not None}
    job |= {"code": code_digest(), "hash": digest, "until": until}
    with tempfile.TemporaryDirectory(prefix="aoft_bench-") as name:
        if handle.method.prepares:  # all workers take what was chosen here
            torch.save(handle.state_dict(), Path(name) / PREPARED)
        with _workers(job, Path(name)) as workers:
            results = _results(workers, label, Path(name), logger)
    handle.load_state_dict(trained_state(checkpoint))
    peak = max(result.peak_memory_bytes for result in results.values())
    return replace(results[0], processes=world_size, peak_memory_bytes=peak)


@contextlib.contextmanager
def _workers(job: dict[str, Any], folder: Path) -> Iterator[list[Worker]]:
    """The running workers, by rank. They are ended with this context. folder: where they meet."""
    with contextlib.ExitStack() as stack:
        workers: list[Worker] = []
        stack.callback(_end, workers)
        for rank in range(job["world_size"]):
            # rank 0 shows progress and warnings; the others would repeat them, or say why they died
            stderr = stack.enter_context(_stderr_file(folder, rank).open("w")) if rank else None
            worker = subprocess.Popen(
                [sys.executable, "-m", "aoft_bench.experiments.ddp_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=_environment(rank),
                start_new_session=True,  # Ctrl-C reaches this process only
            )
            workers.append(worker)
            assert worker.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it has died already; `_results` notices
                worker.stdin.write(json.dumps(job | {"rank": rank, "folder": str(folder)}) + "\n")
                worker.stdin.flush()  # not closed: the pipe's end tells the worker that this process has ended
        yield workers


def _environment(rank: int) -> dict[str, str]:
    paths = [str(Path(aoft_bench.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # no advice on options of DDP
    }


def _stderr_file(folder: Path, rank: int) -> Path:
    return folder / f"process{rank}.err"


def _end(workers: list[Worker]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _results(workers: list[Worker], label: str, folder: Path, logger: EpochLogger | None) -> dict[int, TrainingResult]:
    """Read the workers' messages until all have ended; the result of each rank."""
    messages: Messages = queue.SimpleQueue()
    for rank, worker in enumerate(workers):
        threading.Thread(target=_read, args=(rank, worker, messages), daemon=True).start()
    results: dict[int, TrainingResult] = {}
    ended = 0
    while ended < len(workers):
        rank, message = messages.get()
        if message is None:
            ended += 1
            if workers[rank].wait() != 0 or rank not in results:
                raise _failure(workers, rank, None, messages, label, folder)
        elif "failure" in message:
            raise _failure(workers, rank, message, messages, label, folder)
        elif "result" in message:
            results[rank] = TrainingResult(**message["result"])
        elif logger is not None and "metrics" in message:
            logger.log_metrics(message["metrics"])
        elif logger is not None:
            logger.replay(message["curves"])
    return results


def _read(rank: int, worker: Worker, messages: Messages) -> None:
    """Put a worker's messages into the queue, until it ends."""
    assert worker.stdout is not None
    with contextlib.suppress(ValueError, OSError):  # closed by `_end`
        for line in worker.stdout:
            messages.put((rank, json.loads(line)))
    messages.put((rank, None))


def _failure(
    workers: list[Worker], rank: int, message: Message, messages: Messages, label: str, folder: Path
) -> UserError:
    """The error that names the cause. rank: the worker that failed first. message: its last, or None if it died."""
    if not (message and message["explained"]):
        time.sleep(_SETTLE)
    for one in [message] + [messages.get()[1] for _ in range(messages.qsize())]:
        if one and one.get("explained"):
            return UserError(one["failure"])
    killed = [other for other, worker in enumerate(workers) if (worker.poll() or 0) < 0]
    if killed:  # the failures of the others only follow from it
        rank, message = killed[0], None
    code = workers[rank].poll()
    if message:
        what = f"failed: {message['failure']}"
    elif code is not None and code < 0:
        what = f"was ended by {signal.Signals(-code).name}" + (" (is memory short?)" if code == -signal.SIGKILL else "")
    else:
        path = _stderr_file(folder, rank)
        lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
        what = f"ended with exit code {code}{': ' + lines[-1] if lines else ''}"
    error = UserError(
        f"{label}: process {rank} of {len(workers)} (from 0) {what}; all are ended, the last epoch is kept: the same "
        "command goes on from there"
    )
    if message:
        error.__cause__ = RuntimeError(message["traceback"])  # kept in the failure record
    return error
