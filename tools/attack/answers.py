"""Calls of a command in a process of its own, and what its answer is worth."""

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

REFUSED, HARMLESS = "refused", "harmless"
GOOD = {REFUSED, HARMLESS}
MEMORY = 6 << 30  # bytes of data that a call may have


@dataclass(frozen=True)
class Ended:
    """How a call ended. code: None if it had to be stopped."""

    code: int | None
    out: str
    err: str


@dataclass(frozen=True)
class Answer:
    verdict: str
    detail: str = ""


@dataclass(frozen=True)
class Attack:
    """text: what is tried. answer: tries it."""

    text: str
    answer: Callable[[], Answer]


def warm_up() -> None:
    """Import here what each call would import, so that a call is a fork and not a start."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
    import torch

    import aoft_bench.cli.run
    import aoft_bench.experiments.run
    import aoft_bench.figures
    import aoft_bench.methods
    import aoft_bench.report  # noqa: F401

    torch.set_num_threads(1)


def call(words: Sequence[str], folder: Path, seconds: float = 120) -> Ended:
    """Run ``aoft-bench WORDS`` in a folder, in a fork of this process. folder: also keeps what it prints."""
    out, err = folder.with_name(f"{folder.name}.out"), folder.with_name(f"{folder.name}.err")
    folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if not child:
        _run(words, folder, out, err)
    end, status = time.monotonic() + seconds, None
    while status is None and time.monotonic() < end:
        done, code = os.waitpid(child, os.WNOHANG)
        status = code if done else None
        time.sleep(0.01)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    code = None if status is None else os.waitstatus_to_exitcode(status)
    return Ended(code, out.read_text(errors="replace"), err.read_text(errors="replace"))


def _run(words: Sequence[str], folder: Path, out: Path, err: Path) -> None:
    """The child: never returns."""
    code = 1
    try:
        os.setsid()
        for path, number in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        from aoft_bench.cli import main

        sys.argv = ["aoft-bench", *words]
        code = main(list(words))
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def judge(ended: Ended, wrong: Callable[[], str], *, lines: int = 1, codes: tuple[int, ...] = (2,)) -> Answer:
    """The worth of an answer. wrong: what is wrong with the result of a call that succeeded, else an empty text.

    lines: how many lines of an error are allowed. codes: exit codes of an input that is refused.
    """
    said = [line for line in ended.err.splitlines() if line.strip()]
    last = said[-1] if said else ""
    if ended.code is None:
        return Answer("hung", last)
    if "Traceback (most recent call last)" in ended.out + ended.err:
        return Answer("traceback", last)
    if ended.code == 0:
        return Answer("silently wrong", text) if (text := wrong()) else Answer(HARMLESS)
    errors = [line for line in said if line.startswith("aoft_bench: ")]
    if ended.code in codes and errors and len(said) <= lines:
        return Answer(REFUSED, last)
    return Answer("unclear", f"exit code {ended.code}, {len(said)} lines: {' | '.join(said)[-300:]}")


def files_left(folder: Path) -> str:
    """What a refused call left in a folder, else an empty text."""
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return f"left {', '.join(left[:3])}" if left else ""
