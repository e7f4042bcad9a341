"""trainer.compile, .deterministic and .cuda_graphs as far as a CPU shows them; tests/test_cuda.py has the rest."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import call, words
from networks import batch, vit
from packs import make_pack
from test_resume import finished
from torch import Tensor

import aoft_bench
from aoft_bench.training.compile import compiled_blocks
from aoft_bench.training.determinism import NOT_DETERMINISTIC
from aoft_bench.training.module import FineTuning


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> dict[str, str]:
    root = tmp_path_factory.mktemp("pack")
    make_pack(root / "pack", sizes={"train800": 24, "val200": 8, "test": 20}, shape=(32, 32))
    return nano | {"dataset": "folder", "data.root": str(root / "pack"), "data.cache": str(root / "cache")}


def test_blocks_are_compiled_for_training_only(
    pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stance in which what is compiled runs as it is written, since compiling takes a minute."""
    step, seen = FineTuning.training_step, []

    def watched(self: FineTuning, *args: Any) -> Tensor:
        blocks = self.model.blocks
        seen.append(all(block._compiled_call_impl is not None for block in blocks))
        with torch.compiler.set_stance("force_eager"):
            return step(self, *args)

    monkeypatch.setattr(FineTuning, "training_step", watched)
    results = []
    for compiled in ("false", "true"):
        folder = tmp_path / compiled
        folder.mkdir()
        result = call(*words(pack | {"method": "aoft", "trainer.compile": compiled}), cwd=folder)
        assert result.code == 0, result.err
        results.append(finished(folder))
    assert seen == [False] * (len(seen) // 2) + [True] * (len(seen) // 2)
    (record, tensors), (record_compiled, tensors_compiled) = results
    assert record["hash"] == record_compiled["hash"], "how fast a cell is trained is no part of what it is"
    assert all(torch.equal(tensors[name], tensors_compiled[name]) for name in tensors)


def test_a_network_is_as_before_afterwards() -> None:
    model = vit()
    aoft_bench.attach(model, "lora")
    before = model(batch(16)[0])
    with compiled_blocks(model):
        assert all(block._compiled_call_impl for block in model.blocks)
    assert not any(block._compiled_call_impl for block in model.blocks)
    assert torch.equal(model(batch(16)[0]), before)


def test_an_operation_that_is_not_deterministic_is_named(
    pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: FineTuning, *args: Any) -> Tensor:
        raise RuntimeError(f"some_backward_cuda {NOT_DETERMINISTIC}, but you set 'torch.use_deterministic_algorithms'")

    monkeypatch.setattr(FineTuning, "training_step", refused)
    result = call(*words(pack | {"method": "lora"}), cwd=tmp_path)
    assert result.code == 2 and "Traceback" not in result.err
    assert "some_backward_cuda is not deterministic" in result.err and "trainer.deterministic=false" in result.err


@pytest.mark.parametrize("option", ["compile", "deterministic", "cuda_graphs"])
def test_values_that_are_no_switch_are_refused(option: str, pack: dict[str, str], tmp_path: Path) -> None:
    result = call(*words(pack | {f"trainer.{option}": "maybe"}), cwd=tmp_path)
    assert result.code == 2 and f"trainer.{option}" in result.err and "Traceback" not in result.err
