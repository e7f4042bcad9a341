"""What a run says before it trains: what will happen, how long that may take on a CPU, and what would be shorter."""

import os
import sys
import time
from typing import Protocol as Interface

import torch

from aoft_bench.backbones.layout import image_size
from aoft_bench.backbones.weights import weights_name
from aoft_bench.config.schema import RunConfig
from aoft_bench.data.prepared_task import PreparedTask
from aoft_bench.records.files import CellFiles
from aoft_bench.records.protocols import Protocol
from aoft_bench.training.hardware import autocast
from aoft_bench.training.model import AdaptedModel
from aoft_bench.training.progress import resolve
from aoft_bench.utils.parallel import cores
from aoft_bench.utils.progress_bar import in_words
from aoft_bench.utils.text import counted

LONG = 20 * 60  # seconds of training on a CPU from which on a shorter try is named
TIMED = 2  # images in the pass that is timed
BACKWARD = 2  # what a backward pass costs beside a forward pass: about as much as for full fine-tuning, the most

_said: set[str] = set()  # what this process has said


class Announced(Interface):
    """What is read of an `Experiment`."""

    @property
    def config(self) -> RunConfig: ...
    @property
    def protocol(self) -> Protocol: ...
    @property
    def prepared(self) -> PreparedTask: ...
    @property
    def weights_sha256(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def precision(self) -> str: ...
    @property
    def files(self) -> CellFiles: ...
    @property
    def label(self) -> str: ...
    @property
    def trained_split(self) -> str: ...


def announce(cell: Announced, adapted: AdaptedModel, logger: str, processes: int) -> None:
    """Say on stderr what a run will do, unless trainer.progress is none. logger: what mirrors it, in words."""
    if resolve(cell.config.trainer.progress) == "none":
        return
    lines = start_lines(cell, logger, processes)
    if cell.device.type == "cpu" and processes == 1:
        if adapted.handle.parameter_counts()["trained"] and (seconds := training_seconds(cell, adapted)) > LONG:
            lines.append(
                f"  training on this CPU may take about {in_words(seconds)}, by the time of one forward pass; a better "
                "estimate follows after the first steps; for a short try: recipe.epochs=1, or experiment=quick without "
                "dataset and backbone"
            )
        busy = busy_line(os.getloadavg()[0], cores(), torch.get_num_threads())
        if busy and "busy" not in _said:  # once a process: the next cell of a sweep finds the same
            _said.add("busy")
            lines.append(f"  {busy}")
    print("\n".join(lines), file=sys.stderr, flush=True)


def start_lines(cell: Announced, logger: str, processes: int) -> list[str]:
    """Device, precision, threads, images, steps, data, weights, logger and record of a run, in a few lines."""
    c, prepared, protocol = cell.config, cell.prepared, cell.protocol
    images = len(prepared.train(cell.trained_split)[1])
    steps = c.recipe.epochs * -(-images // c.recipe.batch_size)
    scored = f"{prepared.sizes[protocol.score]:,} {protocol.score} images"
    when = "as after every epoch" if protocol.every_epoch else "once"
    going_on = ", going on from the last epoch that is kept" if cell.files.checkpoint.is_file() else ""
    official = "official split" if prepared.official else f"not the official split: {prepared.official_note}"
    weights = f"{weights_name(c.backbone)} ({cell.weights_sha256[:12]})"
    return [
        f"{cell.label}: {counted(c.recipe.epochs, 'epoch')} of {images:,} images ({cell.trained_split}), "
        f"{counted(steps, 'step')}{going_on}; then {scored}, {when}",
        f"  on {_device(cell, processes)}; weights {weights}; {logger}",
        f"  data: {prepared.source} ({official})",
        f"  record: {cell.files.record}",
    ]


def _device(cell: Announced, processes: int) -> str:
    several = f"{processes} processes on " if processes > 1 else ""
    if cell.device.type == "cuda":
        return f"{several}{torch.cuda.get_device_name(cell.device)}, {cell.precision}"
    return f"{several}the CPU, {cell.precision}, {counted(torch.get_num_threads(), 'thread')}"


def training_seconds(cell: Announced, adapted: AdaptedModel) -> float:
    """About how long training takes: the time of a forward pass, times images, epochs, and what a step has beside it.

    The model is left as it was; nothing random is drawn.
    """
    model = adapted.model
    modes = [(module, module.training) for module in model.modules()]
    images = torch.zeros(TIMED, len(adapted.mean), *image_size(model))
    model.eval()
    try:
        with torch.no_grad(), autocast(cell.device, cell.precision):
            seconds = min(_time(model, images) for _ in range(2))  # the first pass is slower than others
    finally:
        for module, training in modes:
            module.training = training
    passes = cell.config.recipe.epochs * len(cell.prepared.train(cell.trained_split)[1])
    return (1 + BACKWARD) * passes * seconds / TIMED


def _time(model: torch.nn.Module, images: torch.Tensor) -> float:
    start = time.perf_counter()
    model(images)
    return time.perf_counter() - start


def busy_line(load: float, available: int, threads: int) -> str:
    """What may help where other programs use the cores too; empty where they do not.

    load: processes that want to compute, the mean of a minute, of which this run is one; available: cores.
    """
    if threads == 1 or load < available + 1:
        return ""
    return (
        f"this machine is busy (load {load:.1f} on {available} cores): {threads} threads wait for each other, "
        "trainer.threads=1 may be faster"
    )
