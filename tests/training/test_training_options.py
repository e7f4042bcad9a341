"""trainer.compile, .deterministic and .cuda_graphs on a CPU; test_cuda.py has what needs a GPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import call, words
from networks import batch, vit
from test_resume import finished
from torch import Tensor

import aoft_bench
from aoft_bench.training.fit import compiled_blocks
from aoft_bench.training.hardware import NOT_DETERMINISTIC
from aoft_bench.training.module import FineTuning


@pytest.mark.slow
def test_blocks_are_compiled_for_training_only(
    nano_pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With torch's stance "force_eager", in which compiled code runs eagerly, since compiling takes a minute."""
    step, seen = FineTuning.training_step, set()

    def watched(self: FineTuning, *args: Any) -> Tensor:
        seen.add((self.job.trainer.compile, *(block._compiled_call_impl is not None for block in self.model.blocks)))
        with torch.compiler.set_stance("force_eager"):
            return step(self, *args)

    monkeypatch.setattr(FineTuning, "training_step", watched)
    results = []
    for compiled in ("false", "true"):
        folder = tmp_path / compiled
        folder.mkdir()
        result = call(*words(nano_pack | {"method": "aoft", "trainer.compile": compiled}), cwd=folder)
        assert result.code == 0, result.err
        results.append(finished(folder))
    assert {len(set(values)) for values in seen} == {1} and len(seen) == 2
    (record, tensors), (record_compiled, tensors_compiled) = results
    assert record["hash"] == record_compiled["hash"], "how fast a cell is trained is no part of its identity"
    assert all(torch.equal(tensors[name], tensors_compiled[name]) for name in tensors)


def test_a_network_is_as_before_afterwards() -> None:
    model = vit()
    aoft_bench.attach(model, "lora")
    before = model(batch(16)[0])
    with pytest.raises(KeyError), compiled_blocks(model):
        assert all(block._compiled_call_impl for block in model.blocks)
        raise KeyError
    assert not any(block._compiled_call_impl for block in model.blocks)
    assert torch.equal(model(batch(16)[0]), before)


def test_an_operation_that_is_not_deterministic_is_named(
    nano_pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: FineTuning, *args: Any) -> Tensor:
        raise RuntimeError(f"some_backward_cuda {NOT_DETERMINISTIC}, but you set 'torch.use_deterministic_algorithms'")

    monkeypatch.setattr(FineTuning, "training_step", refused)
    result = call(*words(nano_pack | {"method": "lora"}), cwd=tmp_path)
    assert result.code == 2 and "Traceback" not in result.err
    assert "some_backward_cuda is not deterministic" in result.err and "trainer.deterministic=false" in result.err


def test_values_that_are_no_switch_are_refused(nano_pack: dict[str, str], tmp_path: Path) -> None:
    options = {f"trainer.{name}": "maybe" for name in ("compile", "deterministic", "cuda_graphs")}
    result = call(*words(nano_pack | options), cwd=tmp_path)
    assert result.code == 2 and "Traceback" not in result.err
    assert all(f"{name}: got 'maybe', must be true or false" in result.err for name in options)
