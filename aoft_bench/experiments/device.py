"""The device of a run, its precision, and how many devices train together, as `trainer` asks on this machine.

torch, whose import takes seconds and hundreds of megabytes, is imported only where it has to be asked.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aoft_bench.config.schema import TrainerOptions
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.parallel import cores

if TYPE_CHECKING:
    import torch

FEW = 4  # processes on the CPU that any machine may try, each a copy of torch and of the network


def device_of(options: TrainerOptions) -> "torch.device":
    """The device asked for; `UserError` for CUDA where there is none."""
    import torch

    return torch.device(kind_of(options))


def kind_of(options: TrainerOptions) -> str:
    """ "cuda" or "cpu", the type of `device_of`; `UserError` for CUDA where there is none."""
    if options.accelerator == "cpu":
        return "cpu"
    cuda = cuda_is_available()
    if options.accelerator == "cuda" and not cuda:
        raise UserError("trainer.accelerator=cuda: torch sees no CUDA device; use trainer.accelerator=cpu or auto")
    return "cuda" if cuda else "cpu"


def cuda_is_available() -> bool:
    """Whether torch sees a CUDA device: it does not where Linux has no file of a GPU (NVIDIA's, AMD's, that of WSL)."""
    if "torch" not in sys.modules and sys.platform == "linux":
        devices = Path("/dev")
        if not any(file for pattern in ("nv*", "kfd", "dxg") for file in devices.glob(pattern)):
            return False
    import torch

    return torch.cuda.is_available()


def processes_of(options: TrainerOptions) -> int:
    """How many processes train one cell, one for each device; `UserError` for more devices than there are."""
    if options.devices == 1:
        return 1
    if kind_of(options) == "cuda":
        import torch

        gpus = torch.cuda.device_count()
        if (options.devices or gpus) > gpus:
            raise UserError(
                f"trainer.devices={options.devices}: torch sees {gpus} CUDA device{'s' * (gpus > 1)}; give at most "
                "that many, or trainer.devices=null for all"
            )
        return options.devices or gpus
    if options.devices is None:
        raise UserError(
            "trainer.devices=null (all GPUs): torch sees no CUDA device; for processes on the CPU give "
            "trainer.accelerator=cpu and their number, as in trainer.devices=2"
        )
    if options.accelerator != "cpu":
        raise UserError(
            f"trainer.devices={options.devices}: torch sees no CUDA device; give trainer.devices=1, or "
            "trainer.accelerator=cpu for processes on the CPU"
        )
    if options.devices > (most := max(cores(), FEW)):
        raise UserError(
            f"trainer.devices={options.devices}: this machine has {cores()} cores for processes on the CPU; give at "
            f"most {most}"
        )
    return options.devices


def precision_of(options: TrainerOptions, kind: str) -> str:
    """ "bf16" (mixed) or "fp32": what was asked for; of itself bf16 on a GPU that computes in it natively, else fp32.

    On a CPU it is always fp32, so that one command makes the same cell on every CPU.
    """
    if options.precision != "auto":
        return options.precision
    if kind == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "fp32"
