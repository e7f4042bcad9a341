"""The training step as CUDA graphs: recorded once, then started as a whole instead of kernel by kernel.

A step of a small network, or of a method that inserts many small operations, is bound by the CPU that launches its
kernels. A graph launches the same kernels, so the numbers are the same.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from aoft_bench.training.hardware import autocast

NOT_DETERMINISTIC = "does not have a deterministic implementation"  # torch's words
Step = Callable[[Tensor, Tensor], Tensor]  # (images, labels) -> loss


class GraphedStep:
    """A step (images (B, C, S, S) uint8, labels (B,)) -> loss and its backward pass as CUDA graphs.

    They are recorded in the first call, for batches of its shape; others (the last of an epoch, with fewer images) run
    kernel by kernel. Random numbers (dropout) are drawn anew in each call, and recording draws none. A step that cannot
    be recorded, since it waits for the device or copies from the CPU, runs without a graph after a line that says so.

    model: holds the parameters that the step trains.
    """

    def __init__(self, step: Step, model: nn.Module, precision: str) -> None:
        self._step, self._model, self._precision = step, model, precision
        self._shape: torch.Size | None = None
        self._run: Any = None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        if self._shape is None:
            self._shape = images.shape
            self._run = self._recorded(images, labels)
        if self._run is None or images.shape != self._shape:
            return self._step(images, labels)
        return self._run(images, labels).clone()  # type: ignore[no-any-return]  # the graph has one place for its loss

    def _recorded(self, images: Tensor, labels: Tensor) -> Any:
        generator = torch.cuda.get_rng_state(images.device)
        # recording has a stream of its own, which autograd would warn of in each backward pass
        if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):
            torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        try:
            # a cast of a weight that autocast remembers from another step would not be in the graph
            with autocast(images.device, self._precision, remember=False):
                return torch.cuda.make_graphed_callables(
                    _Whole(self._step, self._model), (images.clone(), labels.clone()), allow_unused_input=True
                )
        except RuntimeError as error:
            if NOT_DETERMINISTIC in str(error):  # it would not run without a graph either
                raise
            reason = str(error).partition("\n")[0]
            print(f"aoft_bench: the training step runs without a CUDA graph: {reason}", file=sys.stderr, flush=True)
            return None
        finally:
            torch.cuda.set_rng_state(generator, images.device)


class _Whole(nn.Module):
    """What `make_graphed_callables` wants: a module that has the parameters."""

    def __init__(self, step: Step, model: nn.Module) -> None:
        super().__init__()
        self.step, self.model = step, model

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.step(images, labels)
