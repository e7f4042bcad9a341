"""Small sweeps on a real Slurm and a real Ray, with a job stopped while it trains: the same records as here, in order.

python -m pytest -m cluster
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from slurm_here import command, missing, slurm

pytestmark = pytest.mark.cluster

METHODS = ("norm", "linear", "ssf")
WORDS = (
    f"-m method={','.join(METHODS)} backbone=vit_nano dataset=digits trainer=cpu trainer.threads=1 logger=none "
    "trainer.progress=lines recipe.epochs=2 results.root=results"
).split()
SLURM = [
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.cells_per_job=2",
    "hydra.launcher.gpus_per_node=null",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=null",
    "hydra.launcher.poll_seconds=1",
    "hydra.launcher.submitit_folder=jobs",
]
RAY = ["hydra/launcher=ray", "hydra.launcher.workers=2", "hydra.launcher.cpus_per_worker=0.5"]
ROOT = Path(__file__).resolve().parents[2]
TIMES = ("finished", "cost", "command")  # what may differ between two runs of a cell
PATIENCE = 1200  # seconds, on a machine that does other things too


def sweep(folder: Path, *words: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    """The sweep, started in a folder; what it prints goes to `log` there."""
    folder.mkdir(exist_ok=True)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "aoft_bench", *WORDS, f"data.cache={folder.parent / 'cache'}", *words],
            cwd=folder,
            env=(environment or dict(os.environ)) | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )


def records(folder: Path) -> dict[str, dict]:
    """Records below a folder, by path, without their times."""
    found = sorted((folder / "results" / "records").rglob("*.json"))
    return {
        str(p.relative_to(folder)): {k: v for k, v in json.loads(p.read_text()).items() if k not in TIMES}
        for p in found
    }


def until(ready, process: "subprocess.Popen[str]", folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()
        time.sleep(0.2)


def text_of(*paths: Path) -> str:
    return "".join(path.read_text() for path in paths)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Here"]:
    """The same sweep in one process; it runs while the engine's does."""
    folder = tmp_path_factory.mktemp("cluster") / "here"
    process = sweep(folder)
    yield Here(folder, process)
    process.kill()
    process.wait()


@dataclass(frozen=True)
class Here:
    """A sweep in one process."""

    folder: Path
    process: "subprocess.Popen[str]"

    def records(self) -> dict[str, dict]:
        """Its records, when it has ended."""
        assert self.process.wait(PATIENCE) == 0, (self.folder / "log").read_text()
        found = records(self.folder)
        assert len(found) == len(METHODS)
        return found


@pytest.fixture
def slurm_environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    if missing():
        pytest.skip(missing())
    pytest.importorskip("submitit", reason="pip install -e '.[cluster]'")
    (tmp_path / "slurm").mkdir()
    with slurm(tmp_path / "slurm") as environment:
        yield environment


def test_slurm(here: Here, slurm_environment: dict[str, str]) -> None:
    folder = here.folder.parent / "slurm"
    process = sweep(folder, *SLURM, environment=slurm_environment)
    try:
        jobs = folder / "jobs"
        until(lambda: "norm" in text_of(*jobs.glob("*_0_0_log.err")), process, folder)  # its first epoch is over
        array = re.search(r"Slurm job (\d+): 3 cells in 2 jobs", (folder / "log").read_text())
        assert array
        command(slurm_environment, "scancel", "--signal=TERM", f"{array[1]}_0")
        show = ("scontrol", "show", "job", f"{array[1]}_0")
        until(lambda: "Restarts=1" in command(slurm_environment, *show), process, folder)

        def pending() -> bool:
            return "JobState=PENDING" in command(slurm_environment, *show)

        until(pending, process, folder)
        # Slurm itself lets a requeued job wait for two minutes
        raw = re.search(r"JobId=(\d+)", command(slurm_environment, *show))
        assert raw
        command(slurm_environment, "scontrol", "update", f"JobId={raw[1]}", "StartTime=now")
        assert process.wait(PATIENCE) == 0, (folder / "log").read_text()
        assert "the job goes back into the queue" in text_of(*jobs.glob("*_0_0_log.err"))
    finally:
        process.kill()
        process.wait()
    assert records(folder) == here.records()


def test_a_cancelled_slurm_job_stays_cancelled(slurm_environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "cancelled"
    process = sweep(folder, *SLURM, "recipe.epochs=5000", environment=slurm_environment)
    try:
        until(lambda: bool(list(folder.rglob("norm/digits/*.ckpt"))), process, folder)  # its first epoch is over
        command(slurm_environment, "scancel", "--state=RUNNING")
        assert process.wait(PATIENCE) == 2
        assert "3 missing" in (folder / "log").read_text()
        assert not records(folder)
    finally:
        process.kill()
        process.wait()


def test_ray(here: Here) -> None:
    ray = pytest.importorskip("ray", reason="pip install -e '.[cluster]'")
    assert ray
    folder = here.folder.parent / "ray"
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    process = sweep(folder, *RAY, environment=environment)
    try:
        until(lambda: " epoch 1/2" in (folder / "log").read_text(), process, folder)
        line = next(line for line in (folder / "log").read_text().splitlines() if " epoch 1/2" in line)
        worker = re.search(r"pid=(\d+)", line)
        assert worker, line
        os.kill(int(worker[1]), 15)
        assert process.wait(PATIENCE) == 0, (folder / "log").read_text()
    finally:
        process.terminate()
        process.wait(60)
    assert records(folder) == here.records()
