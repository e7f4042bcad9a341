"""Launchers: what each worker of joblib gets, what happens when one dies, how jobs are dealt, and wrong options."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import joblib as joblib_package
import pytest

from aoft_bench.config.command_line import launchers
from aoft_bench.experiments.launchers import checked, gpus, joblib, slurm
from aoft_bench.utils.errors import UserError

THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Noting:
    """Stands for a sweep: a cell notes its process and what that sees. deadly: cells that kill it, so many times."""

    folder: Path
    together: int = 1  # cells that wait for each other, so that there are as many workers
    deadly: tuple[tuple[int, int], ...] = ()

    def enter(self) -> None:
        """Nothing to take over from the process that started the sweep."""

    def run(self, cell: tuple[int, list[str]]) -> None:
        number = cell[0]
        (self.folder / f"{number}.begun.{time.monotonic_ns()}").touch()
        end = time.monotonic() + 120
        while len({p.name.split(".")[0] for p in self.folder.glob("*.begun.*")}) < self.together:
            assert time.monotonic() < end
            time.sleep(0.01)
        if len(list(self.folder.glob(f"{number}.begun.*"))) <= dict(self.deadly).get(number, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        seen = {"pid": os.getpid(), "gpu": os.environ.get(gpus.VISIBLE), "threads": os.environ.get(THREADS)}
        (self.folder / f"{number}.json").write_text(json.dumps(seen))

    def failed(self, cell: tuple[int, list[str]], problem: str) -> None:
        (self.folder / f"{cell[0]}.failed").write_text(problem)

    def seen(self) -> dict[int, dict]:
        return {int(p.stem): json.loads(p.read_text()) for p in self.folder.glob("*.json")}


def launch(sweep: Noting, cells: int, workers: int) -> None:
    joblib.launch(sweep, [(n, [f"seed={n}"]) for n in range(cells)], {"workers": workers})


def test_each_worker_keeps_a_gpu_and_they_are_shared_evenly(tmp_path, monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "GPU-a,GPU-b")
    monkeypatch.delenv(THREADS, raising=False)
    sweep = Noting(tmp_path, together=4)
    launch(sweep, cells=7, workers=4)
    seen = sweep.seen()
    assert sorted(seen) == list(range(7))
    of_worker = {(s["pid"], s["gpu"]) for s in seen.values()}
    assert len({pid for pid, _ in of_worker}) == len(of_worker) == 4
    assert sorted(gpu for _, gpu in of_worker) == ["GPU-a", "GPU-a", "GPU-b", "GPU-b"]
    assert {s["threads"] for s in seen.values()} == {str(max(1, joblib_package.cpu_count() // 4))}


def test_nothing_is_pinned_without_gpus_and_the_threads_of_the_user_stay(tmp_path, monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "")
    monkeypatch.setenv(THREADS, "3")
    sweep = Noting(tmp_path)
    launch(sweep, cells=2, workers=1)
    assert len({s["pid"] for s in sweep.seen().values()} - {os.getpid()}) == 1
    assert {(s["gpu"], s["threads"]) for s in sweep.seen().values()} == {("", "3")}


@pytest.mark.slow
def test_a_worker_that_dies_takes_no_other_cell_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(gpus.VISIBLE, "")
    sweep = Noting(tmp_path, together=2, deadly=((1, 1), (2, 9)))
    launch(sweep, cells=5, workers=2)
    assert sorted(sweep.seen()) == [0, 1, 3, 4]
    assert [p.name for p in tmp_path.glob("*.failed")] == ["2.failed"]
    assert "killed, twice" in (tmp_path / "2.failed").read_text()
    assert "a worker process died" in capsys.readouterr().err


def test_gpus_that_nvidia_smi_lists():
    text = """GPU 0: NVIDIA H200 (UUID: GPU-11aa)
GPU 1: NVIDIA H200 (UUID: GPU-22bb)
  MIG 1g.18gb     Device  0: (UUID: MIG-33cc)
  MIG 1g.18gb     Device  1: (UUID: MIG-44dd)
"""
    assert gpus.listed(text) == ["GPU-11aa", "MIG-33cc", "MIG-44dd"]


def test_slurm_jobs_are_dealt_like_cards():
    cells = [(n, []) for n in range(7)]
    assert [[n for n, _ in job] for job in slurm.dealt(cells, 3)] == [[0, 3, 6], [1, 4], [2, 5]]
    assert slurm.dealt(cells, 100) == [cells]


def test_names():
    assert {"basic", "joblib", "ray", "submitit_slurm"} <= set(launchers())


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        ("joblib", {"workers": 0}, "hydra.launcher.workers: got 0, must be at least 1"),
        ("joblib", {"worker": 2}, "did you mean 'workers'?"),
        ("slurm", {"cells_per_job": 0}, "hydra.launcher.cells_per_job: got 0, must be at least 1"),
        ("ray", {"retries": -1}, "hydra.launcher.retries: got -1, must be at least 0"),
    ],
)
def test_wrong_options(module, options, said):
    with pytest.raises(UserError) as error:
        __import__(f"aoft_bench.experiments.launchers.{module}", fromlist=["launch"]).launch(None, [(0, [])], options)
    assert said in str(error.value)


def test_every_option_of_a_file_is_one_of_its_launcher():
    from omegaconf import OmegaConf

    from aoft_bench.config.folders import conf_dir
    from aoft_bench.experiments.launchers import ray as ray

    modules = {"joblib": joblib, "submitit_slurm": slurm, "ray": ray}
    for name, module in modules.items():
        tree = OmegaConf.load(conf_dir() / f"hydra/launcher/{name}.yaml")
        tree.pop("_target_")
        options = {k: OmegaConf.to_container(tree, resolve=False)[k] for k in tree}
        assert set(options) == {f.name for f in module.Options.__dataclass_fields__.values()}
        checked(module.Options, options)


def test_slurm_without_its_commands(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch, srun, squeue, scontrol here"):
        slurm.launch(None, [(0, [])], {})


def test_a_launcher_from_the_command_line(cli, nano, monkeypatch):
    """From the names of the command line through Hydra to the launcher, beside another plugin's of the same name."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()
    ConfigStore.instance().store(group="hydra/launcher", name="joblib", node={"_target_": "x", "n_jobs": -1})
    words = [f"{k}={v}" for k, v in nano.items()]
    result = cli(
        "-m", "method=linear,norm", "dataset=digits", *words, "hydra/launcher=joblib", "hydra.launcher.workers=0"
    )
    assert result.code == 2
    assert "hydra.launcher.workers: got 0, must be at least 1" in result.err and "Traceback" not in result.err
