"""One cell trained by several processes of this machine, one for each device: starting, hearing and ending them.

The process that has the cell (its lock, W&B run, record) trains nothing itself, so that no collective operation can
keep it from ending the others. They run `aoft_bench.experiments.ddp_worker`, and end when it does, however it does.
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
from aoft_bench.experiments.experiment import Cell
from aoft_bench.methods import Handle
from aoft_bench.records.code_version import code_digest
from aoft_bench.training.fit import Fit
from aoft_bench.utils.errors import UserError

Message = dict[str, Any] | None  # None: the process has ended
Messages = queue.SimpleQueue[tuple[int, Message]]

_SETTLE = 0.5  # seconds in which the others notice that one has failed, and this process a signal meant for all


def fit_together(cell: Cell, handle: Handle, count: int, logger: Any) -> Fit:
    """Train a cell in `count` processes and load what they trained, from the last epoch's checkpoint, into `handle`.

    logger: that of the W&B mirror, or None. Raises `UserError` when a process fails or dies; none is left then.
    """
    with tempfile.TemporaryDirectory(prefix="aoft_bench-") as folder, _started(cell, count, folder, logger) as running:
        fits = _heard(running, cell.label, Path(folder), logger)
    found = torch.load(cell.files.checkpoint, map_location="cpu", weights_only=True, mmap=True)
    handle.load_state_dict({name.removeprefix("model."): tensor for name, tensor in found["state_dict"].items()})
    peak = max(one.peak_memory_bytes for one in fits.values())
    return replace(fits[0], processes=count, peak_memory_bytes=peak)


@contextlib.contextmanager
def _started(cell: Cell, count: int, folder: str, logger: Any) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes, told what to do. They end with this context."""
    job = {"config": cell.config.as_dict(), "count": count, "folder": folder, "logged": logger is not None}
    job["code"] = code_digest()
    with contextlib.ExitStack() as stack:
        running: list[subprocess.Popen[str]] = []
        stack.callback(_end, running)
        for rank in range(count):
            # the first one shows progress and warnings; what the others write is the same, or why they died
            errors = stack.enter_context(_errors(folder, rank).open("w")) if rank else None
            process = subprocess.Popen(
                [sys.executable, "-m", "aoft_bench.experiments.ddp_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=_environment(rank),
                start_new_session=True,  # Ctrl-C is for this process
            )
            running.append(process)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died already, which is noticed later
                process.stdin.write(json.dumps(job | {"rank": rank}) + "\n")
                process.stdin.flush()  # and left open: its end is how they notice the end of this process
        yield running


def _environment(rank: int) -> dict[str, str]:
    paths = [str(Path(aoft_bench.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # else advice on options of DDP, each time
    }


def _errors(folder: str | Path, rank: int) -> Path:
    return Path(folder) / f"process{rank}.err"


def _end(running: list[subprocess.Popen[str]]) -> None:
    for process in running:
        process.kill()
    for process in running:
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _heard(running: list[subprocess.Popen[str]], label: str, folder: Path, logger: Any) -> dict[int, Fit]:
    """Hear the processes until each has ended; what each `Fit` says, by rank."""
    messages: Messages = queue.SimpleQueue()
    for rank, process in enumerate(running):
        threading.Thread(target=_hear, args=(rank, process, messages), daemon=True).start()
    fits: dict[int, Fit] = {}
    ended = 0
    while ended < len(running):
        rank, message = messages.get()
        if message is None:
            ended += 1
            if running[rank].wait() != 0 or rank not in fits:
                raise _failure(running, rank, None, messages, label, folder)
        elif "failure" in message:
            raise _failure(running, rank, message, messages, label, folder)
        elif "fit" in message:
            fits[rank] = Fit(**message["fit"])
        elif "metrics" in message:
            logger.log_metrics(message["metrics"])
        elif "curves" in message:
            logger.replay(message["curves"])
    return fits


def _hear(rank: int, process: subprocess.Popen[str], messages: Messages) -> None:
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):  # closed, since another process failed
        for line in process.stdout:
            messages.put((rank, json.loads(line)))
    messages.put((rank, None))


def _failure(
    running: list[subprocess.Popen[str]], rank: int, message: Message, messages: Messages, label: str, folder: Path
) -> UserError:
    """The error that says why the processes failed: `rank` was the first that told so, by a message or by its end."""
    if not (message and message["explained"]):
        time.sleep(_SETTLE)
    told = [message] + [messages.get()[1] for _ in range(messages.qsize())]
    for one in told:
        if one and one.get("explained"):
            return UserError(one["failure"])
    killed = [other for other, process in enumerate(running) if (process.poll() or 0) < 0]
    if killed:  # what the others say, that they lost it, is no cause
        rank, message = killed[0], None
    code = running[rank].poll()
    if message:
        what = f"failed: {message['failure']}"
    elif code is not None and code < 0:
        what = f"was ended by {signal.Signals(-code).name}" + (" (is memory short?)" if code == -signal.SIGKILL else "")
    else:
        path = _errors(folder, rank)
        said = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
        what = f"ended with exit code {code}{': ' + said[-1] if said else ''}"
    error = UserError(
        f"{label}: process {rank} of {len(running)} (from 0) {what}; all are ended, the last epoch is kept: the same "
        "command goes on from there"
    )
    if message:
        error.__cause__ = RuntimeError(message["traceback"])  # for the failure's record
    return error
