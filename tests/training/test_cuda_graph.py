"""Which batches run as CUDA graphs, on a CPU with a capture that is played; test_cuda.py captures on a GPU."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aoft_bench.training import cuda_graph
from aoft_bench.training.cuda_graph import CudaGraphStep
from aoft_bench.training.hardware import NOT_DETERMINISTIC


class Capture:
    """In place of torch's: remembers what was captured and what was launched, as (images of a batch). fails: message of
    a capture that fails, by images of a batch."""

    def __init__(self, fails: dict[int, str]) -> None:
        self.captured: list[int] = []
        self.launched: list[int] = []
        self.restored = 0
        self._fails = fails

    def graphed(self, module: nn.Module, samples: tuple[Tensor, ...], allow_unused_input: bool) -> Any:
        count = len(samples[0])
        self.captured.append(count)
        if count in self._fails:
            raise RuntimeError(self._fails[count])

        def launch(images: Tensor, labels: Tensor) -> Tensor:
            assert images.shape == samples[0].shape, "a graph takes batches of one shape"
            self.launched.append(count)
            return module(images, labels)  # type: ignore[no-any-return]

        return launch

    def restore(self, *_: Any) -> None:
        self.restored += 1


def steps(monkeypatch: pytest.MonkeyPatch, counts: list[int], **fails: str) -> tuple[Capture, CudaGraphStep]:
    """Run batches of so many images. fails: messages of captures, as batch4="..."."""
    capture = Capture({int(name.removeprefix("batch")): message for name, message in fails.items()})
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: None)
    monkeypatch.setattr(torch.cuda, "set_rng_state", capture.restore)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture.graphed)
    monkeypatch.setattr(cuda_graph, "autocast", lambda *_, **__: torch.enable_grad())
    layer = nn.Linear(2, 1)
    run = CudaGraphStep(lambda images, labels: layer(images).sum() + labels.sum(), layer, "fp32")
    for count in counts:
        images, labels = torch.full((count, 2), float(count)), torch.arange(count)
        assert run(images, labels).item() == (layer(images).sum() + labels.sum()).item()
    return capture, run


def test_whole_batches_and_the_last_of_an_epoch_have_a_graph_each(monkeypatch: pytest.MonkeyPatch) -> None:
    capture, run = steps(monkeypatch, [4, 4, 3, 4, 4, 3, 2, 2])
    assert capture.captured == [4, 3] and run.captured == capture.restored == 2
    assert capture.launched == [4, 4, 3, 4, 4, 3]


def test_a_capture_that_fails_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    capture, run = steps(monkeypatch, [4, 4, 3, 3], batch4="it waits\nfor the device")
    assert capture.captured == [4] and capture.launched == [] and run.captured == 0
    line = "aoft_bench: the training step of a batch of {} runs without a CUDA graph: {}\n"
    assert capsys.readouterr().err == line.format(4, "it waits")
    capture, run = steps(monkeypatch, [4, 3, 4, 3, 3], batch3="CUDA out of memory")
    assert capture.captured == [4, 3] and capture.launched == [4, 4] and run.captured == 1
    assert capsys.readouterr().err == line.format(3, "CUDA out of memory")
    with pytest.raises(RuntimeError, match=NOT_DETERMINISTIC):
        steps(monkeypatch, [4], batch4=f"this {NOT_DETERMINISTIC}")
