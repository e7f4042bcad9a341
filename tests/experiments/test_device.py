"""The device and the precision of a run."""

from pathlib import Path

import torch

from aoft_bench.config.schema import TrainerOptions
from aoft_bench.experiments.device import precision_of

CPU = torch.device("cpu")


def options(**changes) -> TrainerOptions:
    values = dict(accelerator="auto", precision="auto", threads=None, eval_batch_size=8, progress="none")
    return TrainerOptions(**{**values, **changes})


def test_precision_is_what_was_asked_for_or_what_the_cpu_computes_in():
    assert precision_of(options(precision="fp32"), CPU) == "fp32"
    assert precision_of(options(precision="bf16"), CPU) == "bf16"
    native = any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_bf16"))
    assert precision_of(options(), CPU) == ("bf16" if native else "fp32")
