"""Time and peak memory of a training step, the time as a multiple of the floor's."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import torch

from aoft_bench.training import hardware
from aoft_bench.training.cuda_graph import CudaGraphStep
from benchmarks.machine import Workload
from benchmarks.networks import FLOOR, MAIN, Case, Training, batch, below, others, vit
from benchmarks.timing import alternate, forget


def training(case: Case, setting: Workload, graphs: bool) -> Training:
    images, labels = batch(setting.batch, setting.size, setting.device)
    model = vit(setting.network, setting.size, setting.device)
    return Training(case, model, setting.device, setting.precision, graphs, images, labels)


def measure(setting: Workload, every_method: bool) -> list[dict[str, Any]]:
    """A row for each case, the floor first. On CUDA with and without a CUDA graph, each against such a floor."""
    cuda = setting.device.type == "cuda"
    rows = []
    for graphs in (True, False) if cuda else (False,):
        reference = training(FLOOR, setting, graphs)
        cases = [FLOOR, *MAIN, *(others() if every_method and graphs == cuda else [])]
        rows += [row_of(case, reference, setting, graphs) for case in cases]
        del reference
        forget(setting.device)
    return rows


def frozen(setting: Workload) -> dict[str, Any]:
    """Steps below the floor, and what a linear probe of 100 epochs costs in forward passes of its training images."""
    reference = training(FLOOR, setting, graphs=False)
    rows = [row_of(case, reference, setting, graphs=False) for case in [FLOOR, *below()]]
    del reference
    probe = training(next(case for case in below() if case.name == "linear, kept"), setting, graphs=False)
    assert probe.cache is not None
    times = alternate(probe.step, probe.cache.fill, setting.rounds, setting.steps, setting.device)
    plain = training(replace(FLOOR, adapt=lambda model: model.requires_grad_(False)), setting, graphs=False)
    forward = alternate(probe.cache.fill, plain.forward, setting.rounds, setting.steps, setting.device)
    passes = forward.ratio + 100 * times.ratio * forward.ratio
    return {"steps": rows, "linear probe": [{"case": "100 epochs", "filling": forward.ratio, "forward_passes": passes}]}


def row_of(case: Case, reference: Training, setting: Workload, graphs: bool) -> dict[str, Any]:
    """Ratio, milliseconds and peak memory of a case's step."""
    try:
        found = training(case, setting, graphs)
        times = alternate(found.step, reference.step, setting.rounds, setting.steps, setting.device)
        trained = sum(p.numel() for p in found.model.parameters() if p.requires_grad)
        graphed = isinstance(found.run, CudaGraphStep) and found.run.captured
    except RuntimeError as error:
        return {"case": case.name, "graph": graphs, "failed": str(error).partition("\n")[0]}
    finally:
        found = None  # type: ignore[assignment]
        forget(setting.device)
    return {
        "case": case.name,
        "graph": graphed,
        "ratio": times.ratio,
        "spread": times.spread,
        "fastest_ratio": times.fastest,
        "milliseconds": 1e3 * times.median,
        "trained": trained,
        "peak_bytes": peak_of(case, setting, graphs),
    }


def peak_of(case: Case, setting: Workload, graphs: bool) -> int:
    """Peak memory of two steps: allocated on a GPU; on a CPU resident, in a process of its own."""
    if setting.device.type == "cuda":
        before = torch.cuda.memory_allocated(setting.device)
        hardware.reset_peak_memory(setting.device)
        found = training(case, setting, graphs)
        for _ in range(2):
            found.step()
        peak = hardware.peak_memory_bytes(setting.device) - before
        del found
        forget(setting.device)
        return peak
    words = [sys.executable, "-m", "benchmarks", "--peak-of", case.name, *setting.as_words()]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def print_peak(name: str, setting: Workload) -> None:
    """Print the peak memory of a case: what the process that `peak_of` starts does."""
    case = next(c for c in [FLOOR, *MAIN, *below(), *others()] if c.name == name)
    found = training(case, setting, graphs=False)
    for _ in range(2):
        found.step()
    print(hardware.peak_memory_bytes(setting.device))
