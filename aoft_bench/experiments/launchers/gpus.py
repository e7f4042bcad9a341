"""Which GPUs this process may use, and giving each of several workers one of its own, before CUDA starts."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from filelock import FileLock, Timeout

VISIBLE = "CUDA_VISIBLE_DEVICES"
_PATIENCE = 30.0  # seconds that a new worker waits for the place of one that just ended


def visible() -> list[str]:
    """The GPUs of this process, as CUDA_VISIBLE_DEVICES names them: those of that variable, else all (UUIDs)."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    if not shutil.which("nvidia-smi"):
        return []
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed(done.stdout) if done.returncode == 0 else []


def listed(text: str) -> list[str]:
    """The UUIDs in what `nvidia-smi -L` prints; of a GPU that is cut into MIG devices, those of its devices."""
    gpus: list[list[str]] = []
    for line in text.splitlines():
        found = re.search(r"\(UUID: ([^)\s]+)\)", line)
        if found and line.startswith("GPU"):
            gpus.append([found[1]])
        elif found and gpus:
            gpus[-1].append(found[1])
    return [name for gpu in gpus for name in (gpu[1:] or gpu)]


def pin(devices: list[str], place: int) -> None:
    """Let this process see only the GPU of its place (they are dealt round); nothing without GPUs."""
    if devices:
        os.environ[VISIBLE] = devices[place % len(devices)]


def take_place(folder: Path, places: int) -> tuple[int, FileLock]:
    """A place among 0 ... places - 1 that no living process has, and the lock that holds it until this process ends."""
    end = time.monotonic() + _PATIENCE
    while True:
        for place in range(places):
            lock = FileLock(folder / f"place{place}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return place, lock
        if time.monotonic() > end:
            raise TimeoutError(f"all {places} places in {folder} are taken")
        time.sleep(0.1)
