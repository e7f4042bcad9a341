"""The hardware of a run: its memory, threads and kernels, and what is recorded of it."""

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from aoft_bench.utils.errors import UserError

GLIBC = "libc.so.6"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
NOT_DETERMINISTIC = "does not have a deterministic implementation"  # from torch's error message


def autocast(device: torch.device, precision: str, *, cache: bool = True) -> AbstractContextManager[Any]:
    """The context in which a forward pass of this precision runs. cache: keep casts of weights inside it."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=cache)


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new cell: forget the peaks of those that this process ran before, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        with suppress(OSError, AttributeError):
            ctypes.CDLL(GLIBC).malloc_trim(0)  # what `prepare_cpu` made it keep
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory since `reset_peak_memory`: allocated on a CUDA device, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of the whole process, on systems without /proc
    return peak if sys.platform == "darwin" else peak * 1024


def describe(device: torch.device) -> dict[str, Any]:
    """What a record says of the hardware: no host names, no paths."""
    return {
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def free_memory(device: torch.device) -> int:
    """Bytes that a new tensor may take: free on a CUDA device, or available to this process on the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = [1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])]
    with suppress(OSError, ValueError):  # ValueError: "max", without a limit
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        free.append(max(0, limit - used))
    return min(free)


def prefer_fast_attention(model: torch.nn.Module, device: torch.device) -> None:
    """Use plain matrix products for attention on a CPU, in place.

    torch's fused attention is the fast one on GPUs; on a Zen 4 CPU, ViT-Ti at 224 px in bf16, training was 1.1 to 1.3
    times faster without it. The function computed is the same.
    """
    module: Any
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = bool(module.fused_attn) and device.type == "cuda"


@contextmanager
def deterministic(label: str) -> Iterator[None]:
    """Raise `UserError` for an operation that torch refuses since it is not deterministic.

    The trainer's `deterministic=True` turns the refusal on. It also fills every new tensor, which costs a pass over its
    memory and is not needed here: no code reads uninitialized memory.
    """
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    except RuntimeError as error:
        if NOT_DETERMINISTIC not in str(error):
            raise
        operation = str(error).partition(NOT_DETERMINISTIC)[0].strip()
        raise UserError(
            f"{label}: {operation} is not deterministic on this GPU, so a run that is stopped could not go on bit for "
            "bit; allow it by trainer.deterministic=false"
        ) from None


def prepare_cpu(threads: int | None, processes: int = 1) -> None:
    """Let torch use this many CPU threads, None leaving its choice, divided between processes that work together; and
    let freed memory be kept for the next tensor.

    glibc gives every block above 32 MB back as it is freed, and Linux clears it again, page by page, for the next one
    that size: 17 % of a step of ViT-B/16 with 32 images in fp32 on two cores. The peak stays as it is. Other C
    libraries go their own way.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    elif processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(GLIBC)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
