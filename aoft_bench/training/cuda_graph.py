"""CUDA graphs of the training step: captured once, then launched as a whole instead of kernel by kernel.

The step of a small network, or of a method that inserts many small operations, is bound by the CPU that launches its
kernels. A graph launches the same kernels, so the numbers are the same.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from aoft_bench.training.hardware import NOT_DETERMINISTIC, autocast

Step = Callable[[Tensor, Tensor], Tensor]  # (images, labels) -> loss
SHAPES = 2  # that are captured: of a whole batch, and of the last one of an epoch


class CudaGraphStep:
    """A step (images (B, C, S, S) uint8, labels (B,)) -> loss, its forward and backward pass captured as CUDA graphs.

    The first batch of each shape captures graphs for it, up to `SHAPES` of them: an epoch has whole batches and a last,
    smaller one. Further shapes run without a graph. Dropout draws new random numbers in each call, and capturing draws
    none. A step that cannot be captured, since it waits for the device, copies from the CPU or finds no memory, runs
    without a graph, after a line on stderr; then no further shape is tried.

    model: holds the parameters that the step trains. captured: for how many shapes the step runs as graphs.
    """

    def __init__(self, step: Step, model: nn.Module, precision: str) -> None:
        self._step, self._model, self._precision = step, model, precision
        self._graphs: dict[torch.Size, Any] = {}  # None: could not be captured

    @property
    def captured(self) -> int:
        return sum(graph is not None for graph in self._graphs.values())

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        shape = images.shape
        if shape not in self._graphs and len(self._graphs) < SHAPES and None not in self._graphs.values():
            self._graphs[shape] = self._capture(images, labels)
        graph = self._graphs.get(shape)
        if graph is None:
            return self._step(images, labels)
        # clone: every launch writes its loss to the same memory
        return graph(images, labels).clone()  # type: ignore[no-any-return]

    def _capture(self, images: Tensor, labels: Tensor) -> Any:
        generator = torch.cuda.get_rng_state(images.device)
        # the capture has a stream of its own; autograd would warn of that in each backward pass
        if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):
            torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        try:
            # without autocast's cache: a cast that it remembers from another step would be missing in the graph
            with autocast(images.device, self._precision, cache=False):
                return torch.cuda.make_graphed_callables(
                    _StepModule(self._step, self._model), (images.clone(), labels.clone()), allow_unused_input=True
                )
        except RuntimeError as error:
            if NOT_DETERMINISTIC in str(error):  # such an operation does not run without a graph either
                raise
            reason = str(error).partition("\n")[0]
            step = f"the training step of a batch of {len(images)}"
            print(f"aoft_bench: {step} runs without a CUDA graph: {reason}", file=sys.stderr, flush=True)
            return None
        finally:
            torch.cuda.set_rng_state(generator, images.device)


class _StepModule(nn.Module):
    """`make_graphed_callables` takes a module and finds its parameters."""

    def __init__(self, step: Step, model: nn.Module) -> None:
        super().__init__()
        self.step, self.model = step, model

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.step(images, labels)
