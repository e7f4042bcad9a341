"""Progress of training and scoring: a bar on a terminal, a few lines in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

Kind = Literal["auto", "bar", "lines", "none"]
LINES = 5  # of a run, in a log


def with_progress(
    batches: Iterable[tuple[Tensor, Tensor]], kind: Kind, label: str, images: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches, with a bar on a terminal that counts their images. Prints nothing in a log."""
    if resolve(kind) != "bar":
        yield from batches
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
        self.start = time.monotonic()
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

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        loss = module.epoch_loss()  # Lightning calls callbacks before the module's own on_train_epoch_end
        epoch = trainer.current_epoch + 1
        if self.bar:
            self.bar.update(self.row, loss=f"loss {loss:.3f}")
        elif self.kind == "lines" and (epoch == self.epochs or epoch % max(1, self.epochs // LINES) == 0):
            left = (self.images * self.epochs - self.done) / self._rate()
            print(
                f"{self.label}: epoch {epoch}/{self.epochs}, loss {loss:.3f}, {self._rate():.0f} images/s, "
                f"{int(left) // 60}:{int(left) % 60:02d} left",
                file=sys.stderr,
                flush=True,
            )

    def on_train_end(self, *_: Any) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None

    def on_exception(self, *_: Any) -> None:
        self.on_train_end()

    def _rate(self) -> float:
        return (self.done - self.before) / max(1e-9, time.monotonic() - self.start)
