"""The time of a step by operation (CPU) or kernel (GPU)."""

from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import Workload
from benchmarks.networks import FLOOR, MAIN
from benchmarks.steps import training
from benchmarks.timing import forget

SHOWN = 18
STEPS = 3


def measure(setting: Workload) -> list[dict[str, Any]]:
    """For the floor and for AOFT: each operation's own milliseconds a step and how often it runs, the longest first."""
    return [row for case in (FLOOR, *MAIN[1:3]) for row in _of(case, setting)]


def _of(case: Any, setting: Workload) -> list[dict[str, Any]]:
    cuda = setting.device.type == "cuda"
    found = training(case, setting, graphs=False)
    found.step()
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    with profile(activities=kinds) as watched:
        for _ in range(STEPS):
            found.step()
        if cuda:
            torch.cuda.synchronize(setting.device)
    del found
    forget(setting.device)
    times: dict[str, tuple[float, float]] = {}
    for event in watched.key_averages():
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        if own and (not cuda or event.device_type.name == "CUDA"):
            times[event.key] = (own / 1e3 / STEPS, event.count / STEPS)
    total = sum(ms for ms, _ in times.values())
    longest = sorted(times.items(), key=lambda item: -item[1][0])
    rows = [_row(case.name, name[:90], ms, count, total) for name, (ms, count) in longest[:SHOWN]]
    rest = longest[SHOWN:]
    rows.append(_row(case.name, f"{len(rest)} others", *map(sum, zip(*(v for _, v in rest), strict=True)), total))
    return [*rows, _row(case.name, "all", total, sum(n for _, n in times.values()), total)]


def _row(case: str, name: str, ms: float, count: float, total: float) -> dict[str, Any]:
    return {"case": case, "operation": name, "milliseconds": ms, "calls": count, "share": ms / total}
