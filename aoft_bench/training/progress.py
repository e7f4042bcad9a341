"""Progress of training and scoring: a bar on a terminal; a line now and then in a log, and after some epochs."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from aoft_bench.utils.progress_bar import LOG_EVERY, LogLines, in_words

Kind = Literal["auto", "bar", "lines", "none"]
LINES = 5  # epochs of a run that have a line in a log
FIRST = 10  # seconds after which a log has the first estimate of the time left


@contextlib.contextmanager
def image_progress(kind: Kind, label: str, images: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, or lines in a log, while `images` images are worked on; yields a function that is called
    with how many more are done."""
    shown, done = resolve(kind), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if shown == "bar":
            bar.advance(row, count)

    with contextlib.ExitStack() as stack:
        if shown == "bar":
            bar = stack.enter_context(_bar())
            row = bar.add_task(label, total=images)
        elif shown == "lines":
            stack.enter_context(LogLines(lambda: f"{label}, {done:,} of {images:,} images"))
        yield advance


def with_progress(
    batches: Iterable[tuple[Tensor, Tensor]], kind: Kind, label: str, images: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches, with `image_progress`."""
    with image_progress(kind, label, images) as advance:
        for batch in batches:
            yield batch
            advance(len(batch[1]))


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
        self.lines: LogLines | None = None

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.start = self.then = time.monotonic()
        self.before = self.done = self.images * trainer.current_epoch  # by earlier starts of the run
        self.at = ""  # the step of the last batch
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
        elif self.kind == "lines":
            self.lines = LogLines(self._line, FIRST)
            self.lines.start()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        # with several processes, the whole batch
        self.done += batch[2] if isinstance(batch[-1], int) else len(batch[1])
        self.then = time.monotonic()
        epoch = trainer.current_epoch + 1
        self.at = f"epoch {epoch}/{self.epochs}, step {index + 1}/{trainer.num_training_batches}"
        if self.bar:
            self.bar.update(self.row, completed=self.done, epoch=epoch, rate=self._rate())

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        loss = module.epoch_loss()  # Lightning calls callbacks before the module's own on_train_epoch_end
        epoch = trainer.current_epoch + 1
        if self.bar:
            self.bar.update(self.row, loss=f"loss {loss:.3f}")
        elif self.lines and (epoch == self.epochs or epoch % max(1, self.epochs // LINES) == 0):
            self.lines.say(f"{self.label}: epoch {epoch}/{self.epochs}, loss {loss:.3f}, {self._pace()}")

    def on_train_end(self, *_: Any) -> None:
        if self.bar:
            self.bar.stop()
        if self.lines:
            self.lines.stop()
        self.bar = self.lines = None

    def on_exception(self, *_: Any) -> None:
        self.on_train_end()

    def _line(self) -> str:
        if self.at:
            return f"{self.label}: {self.at}, {self._pace()}"
        waited = time.monotonic() - self.start
        return "" if waited < LOG_EVERY else f"{self.label}: in its first step for {in_words(waited)}"

    def _pace(self) -> str:
        rate = self._rate()
        return f"{rate:.{rate < 10:d}f} images/s, {in_words((self.images * self.epochs - self.done) / rate)} left"

    def _rate(self) -> float:
        return (self.done - self.before) / max(1e-9, self.then - self.start)
