"""On a GPU: CUDA graphs compute the same, and a stopped run goes on bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import call, words
from networks import vit
from safetensors.torch import load_file
from test_resume import EPOCHS, RECIPE, STEPS, finished, killed_in_step, same, stop_and_go_on
from torch import Tensor, nn

import aoft_bench
from aoft_bench.data.loader import StreamedBatches
from aoft_bench.training.cuda_graph import CudaGraphStep

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = "cuda"


@pytest.fixture(scope="module")
def pack(nano_pack: dict[str, str]) -> dict[str, str]:
    return nano_pack | RECIPE | {"trainer": "auto", "trainer.accelerator": "cuda"}


def losses(method: str, graphs: bool, dropout: float = 0.0, steps: int = 6) -> tuple[list[float], list[Tensor]]:
    """Losses of some steps of SGD in float64, every third of a smaller batch, and what was trained."""
    model = vit(pos_drop_rate=dropout, proj_drop_rate=dropout).train()
    handle = aoft_bench.attach(model, method)
    model.to(CUDA)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(images.double() / 255), labels)

    run: Any = CudaGraphStep(step, model, "fp32") if graphs else step
    torch.manual_seed(0)
    torch.cuda.manual_seed(1)
    optimizer = torch.optim.SGD([p for _, p in handle.trained()], lr=0.1)
    seen = []
    for number in range(steps):
        count = 2 if number % 3 == 2 else 4
        images = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8).to(CUDA)
        optimizer.zero_grad()
        loss = run(images, (torch.arange(count) % 5).to(CUDA))
        loss.backward()
        optimizer.step()
        seen.append(loss.detach())
    if graphs:
        assert run.captured == 2, "the step of a whole batch and that of the smaller one were not both recorded"
    return [loss.item() for loss in seen], [p.detach().cpu() for _, p in handle.trained()]


@pytest.mark.parametrize(
    "method", ["aoft", "lora", "full", "adapter", "ssf", "vpt_deep", "hta", "fact_tt", "linear", "aoft_adapter"]
)
def test_a_graph_computes_the_same(method: str) -> None:
    (one, state), (other, state_with_graph) = losses(method, False), losses(method, True)
    assert one == pytest.approx(other, abs=1e-10) and len(set(one)) == len(one)
    for a, b in zip(state, state_with_graph, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_dropout_is_drawn_anew_in_every_step_and_as_without_graphs() -> None:
    one, other = losses("lora", False, dropout=0.5)[0], losses("lora", True, dropout=0.5)[0]
    again = losses("lora", True, dropout=0.5)[0]
    assert other == again and other != losses("lora", True)[0]
    assert one[0] == pytest.approx(other[0], abs=1e-10), "recording must draw no random numbers"


def test_a_step_that_waits_for_the_device_runs_without_a_graph(capsys: pytest.CaptureFixture[str]) -> None:
    layer = nn.Linear(3, 1).to(CUDA)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        value = layer(images.float().mean((2, 3))).mean()
        return value * (2 if value.item() > 0 else 1)

    run = CudaGraphStep(step, layer, "fp32")
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, device=CUDA)
    run(images, images[:, 0, 0, 0].long()).backward()
    assert layer.weight.grad is not None and layer.weight.grad.isfinite().all()
    assert "without a CUDA graph" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["lora", "aoft", "full", "adapter"])
@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "kernels"])
def test_a_stopped_run_goes_on_bit_for_bit(method: str, graphs: bool, pack: dict[str, str], tmp_path: Path) -> None:
    options = pack | {"method": method, "trainer.cuda_graphs": str(graphs).lower()}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    result = call(*words(options), cwd=whole)
    assert result.code == 0 and "without a CUDA graph" not in result.err, result.err
    result = stop_and_go_on(parts, options, killed_in_step(STEPS + 2), killed_in_step(STEPS + 1))
    assert result.code == 0, result.err
    same(parts, finished(whole))
    assert finished(parts)[0]["cost"]["resumed"] == 2 and EPOCHS > 2


@pytest.mark.parametrize("method", ["linear", "partial"])
def test_what_is_frozen_is_looked_up_in_graphs(method: str, pack: dict[str, str], tmp_path: Path) -> None:
    """Of whole batches and of the last one, with the losses of a run that computes it in every step."""
    curves = []
    for cached in ("off", "auto"):
        (tmp_path / cached).mkdir()
        result = call(*words(pack | {"method": method, "trainer.frozen_cache": cached}), cwd=tmp_path / cached)
        assert result.code == 0 and "without a CUDA graph" not in result.err, result.err
        curves.append(finished(tmp_path / cached)[0]["curves"]["train_loss"])
    assert curves[0] == pytest.approx(curves[1], rel=3e-2)


def test_a_run_twice_is_the_same_and_evaluate_reproduces_it(pack: dict[str, str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert call(*words(pack | {"method": "aoft"}), cwd=tmp_path / name).code == 0
    same(tmp_path / "two", finished(tmp_path / "one"))
    (path,) = (tmp_path / "one/results/records").rglob("*.json")
    assert load_file(path.with_suffix(".safetensors"))
    result = call("evaluate", str(path), cwd=tmp_path / "one")
    assert result.code == 0 and "equal" in result.out, result.out + result.err


def test_images_arrive_as_on_the_cpu() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (70, 20, 28, 3), dtype=np.uint8), np.arange(70)
    on_cpu = list(StreamedBatches(images, labels, 16, size=32))
    on_gpu = list(StreamedBatches(images, labels, 16, size=32, device=CUDA))
    assert len(on_cpu) == len(on_gpu) == 5
    for (a, x), (b, y) in zip(on_cpu, on_gpu, strict=True):
        assert torch.equal(a, b.cpu()) and torch.equal(x, y.cpu())
