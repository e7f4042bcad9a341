"""Progress of training and scoring: a bar on a terminal; a line now and then in a log, and after some epochs."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from aoft_bench.utils.progress_bar import LogLines, in_words

Kind = Literal["auto", "bar", "lines", "none"]
LINES = 5  # epochs of a run that have a line in a log
FIRST = 10  # seconds after which a log has the first estimate of the time left


def with_progress(
    batches: Iterable[tuple[Tensor, Tensor]], kind: Kind, label: str, images: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches, with a bar on a terminal, or lines in a log, that count their images."""
    if resolve(kind) != "bar":
        lines, done = LogLines(), 0
        for batch in batches:
            yield batch
            done += len(batch[1])
            if resolve(kind) == "lines" and lines.due():
                lines.say(f"{label}, {done:,} of {images:,} images")
        return
    with _bar() as bar:
        row = bar.add_task(label, total=images)
        for batch in batches:
            yield batch
            bar.advance(row, len(batch[1]))


def resolve(kind: Kind) -> str:
    """ "auto" is a bar if stderr is a terminal, else lines."""
    return kind if kind != "auto" else ("bar" if sys.stderr.isatty() else "lines")


def _bar(*columns: ProgressColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
    )


class RunProgress(pl.Callback):
    """Counts images over all epochs. Shows the loss, images a second and the time left of the whole run."""

    def __init__(self, kind: Kind, label: str, images: int, epochs: int) -> None:
        self.kind = resolve(kind)
        self.label, self.images, self.epochs = label, images, epochs
        self.bar: Progress | None = None

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.start, self.lines = time.monotonic(), LogLines(FIRST)
        self.before = self.done = self.images * trainer.current_epoch  # by earlier starts of the run
        if self.kind == "bar":
            self.bar = _bar(
                TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
                TextColumn("{task.fields[loss]}"),
                TextColumn("{task.fields[rate]:.0f} images/s"),
            )
            self.bar.start()
            total = self.images * self.epochs
            first = trainer.current_epoch + 1
            self.row = self.bar.add_task(
                self.label, total=total, completed=self.done, epoch=first, epochs=self.epochs, loss="", rate=0.0
            )

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.done += (
            batch[2] if isinstance(batch[-1], int) else len(batch[1])
        )  # with several processes, the whole batch
        if self.bar:
            self.bar.update(self.row, completed=self.done, epoch=trainer.current_epoch + 1, rate=self._rate())
        elif self.kind == "lines" and self.lines.due():
            step = f"step {index + 1}/{trainer.num_training_batches}"
            self.lines.say(f"{self.label}: epoch {trainer.current_epoch + 1}/{self.epochs}, {step}, {self._pace()}")

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        loss = module.epoch_loss()  # Lightning calls callbacks before the module's own on_train_epoch_end
        epoch = trainer.current_epoch + 1
        if self.bar:
            self.bar.update(self.row, loss=f"loss {loss:.3f}")
        elif self.kind == "lines" and (epoch == self.epochs or epoch % max(1, self.epochs // LINES) == 0):
            self.lines.say(f"{self.label}: epoch {epoch}/{self.epochs}, loss {loss:.3f}, {self._pace()}")

    def on_train_end(self, *_: Any) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None

    def on_exception(self, *_: Any) -> None:
        self.on_train_end()

    def _pace(self) -> str:
        rate = self._rate()
        return f"{rate:.{rate < 10:d}f} images/s, {in_words((self.images * self.epochs - self.done) / rate)} left"

    def _rate(self) -> float:
        return (self.done - self.before) / max(1e-9, time.monotonic() - self.start)
