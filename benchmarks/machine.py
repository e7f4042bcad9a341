"""The workload of a benchmark: device, precision, network, batch size, number of rounds."""

import platform
from dataclasses import asdict, dataclass
from typing import Any

import torch

from aoft_bench.records.code_version import git_state, version_of
from aoft_bench.training import hardware


@dataclass(frozen=True)
class Workload:
    """network: a timm name; size: of images in pixels; batch: images a step; rounds: timed, of `steps` each."""

    device: torch.device
    precision: str
    network: str
    size: int
    batch: int
    rounds: int
    steps: int
    threads: int

    def as_words(self) -> list[str]:
        """The options of `python -m benchmarks` that give this setting."""
        given = {k: v for k, v in asdict(self).items() if k != "device"} | {"device": self.device.type}
        return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def describe(setting: Workload) -> dict[str, Any]:
    """Setting, hardware, versions and commit, for the head of a table."""
    names = ("torch", "timm", "peft", "pytorch-lightning")
    return {
        "setting": {**asdict(setting), "device": setting.device.type},
        "hardware": hardware.describe(setting.device),
        "versions": {name: version_of(name) for name in names} | {"python": platform.python_version()},
        "git": git_state(),
    }
