"""A signal ends a sweep at once. It prints that, keeps the last epoch and leaves no half-written file."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORDS = (
    "-m method=lora,linear backbone=vit_nano dataset=digits trainer=cpu trainer.progress=lines "
    "logger=none recipe.epochs=5000 results.root=results data.cache=cache trainer.threads=1"
)
# a shell starts background jobs with Ctrl-C ignored, and tests may be one; a user at a terminal has the default
AT_A_TERMINAL = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('aoft_bench', run_name='__main__', alter_sys=True)"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM; finished cells are kept, and the last epoch"),
        (signal.SIGINT, 130, "interrupted; finished cells are kept, and the last epoch"),
    ],
)
def test_a_signal_ends_the_whole_sweep(sent, code, said, tmp_path):
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": "", "HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, *WORDS.split()],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        started = tmp_path / "results"
        try:
            while not list(started.rglob("lora/digits/*.ckpt")):  # written after its first epoch
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
            process.send_signal(sent)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert said in stderr and "Traceback" not in stderr
    kept = [path for path in started.rglob("*") if path.is_file() and path.suffix != ".partial"]
    assert sorted(path.suffix for path in kept) == [".ckpt", ".lock"]
    assert all("unfinished" in path.parts for path in kept)
    assert len(list(started.rglob("*.partial"))) <= 1  # the next epoch's, if the signal came while it was written


def test_a_command_that_is_told_to_stop_leaves_no_half_written_file(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from aoft_bench import cli; "
        "from aoft_bench.cli import tables; from aoft_bench.utils.files import write_atomically; "
        "half = lambda path: (path.touch(), os.kill(os.getpid(), signal.SIGTERM), path.write_text('late')); "
        "tables.main = lambda words: write_atomically(Path('table.md'), half); "
        "sys.argv = ['', 'tables']; sys.exit(cli.main())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (143, "", [])
