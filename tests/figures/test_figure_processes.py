"""Figures drawn by several processes: Ctrl-C costs no file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from figure_records import ranked, write

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_leaves_whole_files(tmp_path: Path) -> None:
    backbones = ("vit_b16_in21k", "vit_l16", "vit_s16", "vit_ti16")
    write(
        tmp_path / "results",
        [one for name in backbones for one in ranked(backbone=name, config__backbone__name=name)],
    )
    command = (
        "import aoft_bench.cli.figures as m; m.cores = lambda: 2; "
        "from aoft_bench.cli import main; raise SystemExit(main(['figures']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        end = time.monotonic() + 120
        while len(list((tmp_path / "results").glob("figures/*.pdf"))) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "aoft_bench: interrupted; files are whole, some are of the call before"
    assert not list((tmp_path / "results" / "figures").glob("*.partial"))
    while time.monotonic() < end:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process is left")
