"""The progress of downloads: bars on a terminal, a few lines in a log."""

import sys
import time
from typing import TYPE_CHECKING

from aoft_bench.utils.progress_bar import in_words

if TYPE_CHECKING:
    from rich.progress import Progress

INTERVAL = 10.0  # seconds between two lines of a log


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def amount(count: float) -> str:
    """A number of bytes as text: 161 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            value = count / scale
            return f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"
    return f"{count:.0f} bytes"


class Lines:
    """The progress of one file in a log: a line at the start, one every ten seconds, one at the end."""

    def __init__(self, name: str, host: str, size: int | None, done: int) -> None:
        self.name, self.size, self.done = name, size, done
        self.start = self.then = time.monotonic()
        self.arrived = self.before = 0
        what = f", {amount(size)}" if size is not None else ""
        say(f"downloading {name}{what} from {host}" + (f"; {amount(done)} are here already" if done else ""))

    def advance(self, count: int) -> None:
        self.done += count
        self.arrived += max(count, 0)
        now = time.monotonic()
        if now - self.then < INTERVAL:
            return
        rate = (self.arrived - self.before) / (now - self.then)
        self.then, self.before = now, self.arrived
        if self.size:
            left = f", {in_words((self.size - self.done) / rate)} left" if rate else ""
            say(f"{self.name}: {100 * self.done / self.size:.0f}% of {amount(self.size)}, {amount(rate)}/s{left}")
        else:
            say(f"{self.name}: {amount(self.done)}, {amount(rate)}/s")

    def finish(self) -> None:
        took = time.monotonic() - self.start
        rate = amount(self.arrived / max(took, 1e-3))
        say(f"downloaded {self.name}: {amount(self.done)}, {in_words(took)}, {rate}/s")


class Bar:
    """The progress of one file on a terminal."""

    def __init__(self, bars: "Progress", name: str, size: int | None, done: int) -> None:
        self.bars = bars
        self.row = bars.add_task(name, total=size, completed=done)

    def advance(self, count: int) -> None:
        if count < 0:
            self.bars.reset(self.row)
        else:
            self.bars.advance(self.row, count)

    def finish(self) -> None:
        self.bars.stop_task(self.row)


def bars() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), TextColumn("left"), console=Console(stderr=True))
