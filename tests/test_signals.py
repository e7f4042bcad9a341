"""A run that is told to stop stops at once, says so, and leaves nothing half-written."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

WORDS = (
    "-m method=lora,linear backbone=vit_nano dataset=digits trainer=cpu trainer.progress=lines "
    "logger=none recipe.epochs=5000 results.root=results data.cache=cache trainer.threads=1"
)
# tests that run in the background of a shell inherit an ignored Ctrl-C, which a user at a terminal does not have
AT_A_TERMINAL = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('aoft_bench', run_name='__main__', alter_sys=True)"
)


@pytest.mark.parametrize(
    ("sent", "code", "said"), [(signal.SIGTERM, 143, ""), (signal.SIGINT, 130, "interrupted; cells that were finished")]
)
def test_a_signal_ends_the_whole_sweep(sent, code, said, tmp_path):
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "PATH": "", "HOME": str(tmp_path)}
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
            while not list(started.rglob("lora/digits")):  # made right before training
                assert process.poll() is None, process.stderr.read()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=4)  # it is training
            process.send_signal(sent)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert said in stderr and "Traceback" not in stderr
    assert not [path for path in started.rglob("*") if path.is_file()]
