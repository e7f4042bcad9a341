"""A sweep that is killed with -9 again and again ends with the records and weights of an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parent.parent.parent
KILLS = 20
COMMON = (
    "backbone=vit_nano trainer=cpu trainer.threads=1 trainer.progress=none logger=none hparams=none recipe.epochs=3 "
    "recipe.drop_path=0.2 recipe.mlp_dropout=0.1"
)
# 4 x 4 + 1 x 3 = 19 cells on the embedded tasks; dropout, so that the state of the random generators matters
SWEEPS = (
    "dataset=digits,shapes_count,shapes_location,shapes_orientation method=aoft,lora,adapter,full",
    "dataset=digits method=ssf,aoft_adapter,vpt_deep",
)


def start(sweep: str, folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "aoft_bench", "-m", *COMMON.split(), *sweep.split()],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def results(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    found = {}
    for path in sorted((folder / "results/records").rglob("*.json")):
        record = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("cost", "finished")}
        name = path.relative_to(folder).as_posix()
        found[name] = record, load_file(path.with_suffix(".safetensors"))
    return found


def test_twenty_kills(tmp_path: Path) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    calm.mkdir()
    wild.mkdir()
    began = time.monotonic()
    for sweep in SWEEPS:
        assert start(sweep, calm).wait() == 0, (calm / "log").read_text()
    took = time.monotonic() - began
    moments = random.Random(time.time_ns())
    kills = 0
    for sweep in SWEEPS:
        while True:
            process = start(sweep, wild)
            # a kill comes within the share of the work that is left for it, and never before the process has begun
            patience = None if kills == KILLS else moments.uniform(1, 2.2 * took / KILLS + 12)
            try:
                assert process.wait(patience) == 0, (wild / "log").read_text()
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
    while kills < KILLS:  # the work was done before the last kills: they hit the looking up of what is done
        process = start(SWEEPS[0], wild)
        try:
            process.wait(moments.uniform(1, 6))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        kills += 1
    expected, got = results(calm), results(wild)
    assert len(expected) == 19 and got.keys() == expected.keys()
    for name, (record, tensors) in expected.items():
        assert got[name][0] == record, name
        assert got[name][1].keys() == tensors.keys()
        assert all(torch.equal(tensor, got[name][1][key]) for key, tensor in tensors.items()), name
    resumed = [json.loads(p.read_text())["cost"]["resumed"] for p in (wild / "results/records").rglob("*.json")]
    assert sum(resumed) > 0  # some were taken up in the middle
    print(f"{kills} kills; {sum(map(bool, resumed))} of {len(resumed)} cells were taken up again, {sum(resumed)} times")
