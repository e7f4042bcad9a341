"""Times of steps: medians, and ratios within a round."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Run = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Seconds of one step in each round, and of the reference in the same rounds."""

    seconds: list[float]
    reference: list[float]

    @property
    def ratio(self) -> float:
        """Seconds as a multiple of the reference's: the median over rounds."""
        return statistics.median(a / b for a, b in zip(self.seconds, self.reference, strict=True))

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles of that ratio."""
        ratios = sorted(a / b for a, b in zip(self.seconds, self.reference, strict=True))
        if len(ratios) < 4:
            return (ratios[-1] - ratios[0]) / 2
        low, _, high = statistics.quantiles(ratios, n=4)
        return (high - low) / 2

    @property
    def fastest(self) -> float:
        """The ratio of the fastest rounds, which other work on the machine disturbs least."""
        return min(self.seconds) / min(self.reference)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def seconds_of(run: Run, steps: int, device: torch.device) -> float:
    """Seconds of one of `steps` calls in a row."""
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(device)
        begin.record()
        for _ in range(steps):
            run()
        end.record()
        torch.cuda.synchronize(device)
        return begin.elapsed_time(end) / 1e3 / steps
    start = time.perf_counter()
    for _ in range(steps):
        run()
    return (time.perf_counter() - start) / steps


def alternate(run: Run, reference: Run, rounds: int, steps: int, device: torch.device) -> Times:
    """Time `run` and `reference` in turn, after a warm-up of both. Which of them goes first alternates."""
    for one in (run, reference):
        seconds_of(one, steps, device)
    times: dict[Run, list[float]] = {run: [], reference: []}
    for number in range(rounds):
        for one in (run, reference) if number % 2 else (reference, run):
            times[one].append(seconds_of(one, steps, device))
    return Times(times[run], times[reference])


def forget(device: torch.device) -> None:
    """Free unused memory. CUDA graphs are in reference cycles, which only the garbage collector frees."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
