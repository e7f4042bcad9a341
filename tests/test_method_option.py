"""pytest --method NAME: which tests it runs, and what it says of a name that is no method."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", *words]
    return subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)


def test_what_concerns_the_method_is_run() -> None:
    done = run("--method", "aoft", "-qq")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(line.split(": ") for line in done.stdout.splitlines() if line.startswith("tests/"))
    assert {"tests/methods/test_methods.py", "tests/methods/test_aoft.py"} <= counts.keys()
    assert "tests/experiments/test_ddp.py" not in counts  # slow
    assert int(counts["tests/methods/test_methods.py"]) < 150


def test_an_unknown_name_comes_with_the_closest() -> None:
    done = run("--method", "lorra")
    assert done.returncode == 2 and "unknown method 'lorra' (did you mean 'lora'?)" in done.stdout + done.stderr
