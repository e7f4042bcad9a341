"""The device, the precision and the number of processes of a run."""

import sys
from pathlib import Path

import pytest
import torch

from aoft_bench.config.schema import TrainerOptions
from aoft_bench.experiments.device import cuda_is_available, kind_of, precision_of, processes_of
from aoft_bench.utils.errors import UserError

CPU = "cpu"


def options(**changes) -> TrainerOptions:
    values = dict(accelerator="auto", precision="auto", threads=None, eval_batch_size=8, progress="none")
    return TrainerOptions(**{**values, **changes})


def test_auto_precision_is_fp32_on_every_cpu_and_bf16_on_a_gpu_that_computes_in_it(monkeypatch):
    assert precision_of(options(precision="bf16"), CPU) == "bf16"
    assert precision_of(options(), CPU) == "fp32"
    for native, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native)
        assert precision_of(options(), "cuda") == expected
        assert precision_of(options(precision="fp32"), "cuda") == "fp32"


@pytest.mark.parametrize(
    ("gpus", "changes", "expected"),
    [
        (0, {}, 1),
        (2, {}, 1),
        (2, {"devices": None}, 2),
        (1, {"devices": None}, 1),
        (4, {"devices": 3}, 3),
        (2, {"devices": 3, "accelerator": "cpu"}, 3),
        (2, {"devices": 3_000, "accelerator": "cpu"}, "trainer.devices=3000: this machine has .* give at most"),
        (2, {"devices": 3}, "trainer.devices=3: torch sees 2 CUDA devices; give at most"),
        (0, {"devices": 2}, "trainer.devices=2: torch sees no CUDA device; give trainer.devices=1, or trainer.acc"),
        (0, {"devices": None}, "torch sees no CUDA device; for processes on the CPU give trainer.accelerator=cpu and"),
        (2, {"devices": None, "accelerator": "cpu"}, "as in trainer.devices=2"),
    ],
)
def test_number_of_processes(gpus, changes, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if isinstance(expected, int):
        assert processes_of(options(**changes)) == expected
    else:
        with pytest.raises(UserError, match=expected) as refused:
            processes_of(options(**changes))
        assert "\n" not in str(refused.value)


def test_torch_is_not_imported_to_ask_for_a_gpu_where_linux_has_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cuda_is_available() and kind_of(options()) == "cuda" and kind_of(options(accelerator="cpu")) == "cpu"
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    assert not cuda_is_available() and "torch" not in sys.modules
