"""Progress of long work on images: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOG_EVERY = 30  # seconds between two lines in a log


class LogLines:
    """Says when it is time for the next line in a log. first: seconds until the first one, by default `LOG_EVERY`."""

    def __init__(self, first: float | None = None) -> None:
        self._next = time.monotonic() + (LOG_EVERY if first is None else first)

    def due(self) -> bool:
        """Whether a line is due."""
        return time.monotonic() >= self._next

    def say(self, text: str) -> None:
        """Print a line on stderr; the next one is due `LOG_EVERY` seconds later."""
        print(text, file=sys.stderr, flush=True)
        self._next = time.monotonic() + LOG_EVERY


def in_words(seconds: float) -> str:
    """A time to wait, as in "7 h 05 min", "3 min" or "12 s"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of work on stderr; yields a function to call with the number of finished steps."""
    if not sys.stderr.isatty():
        lines, done = LogLines(), 0

        def count_up(count: int) -> None:
            nonlocal done
            done += count
            if lines.due():
                lines.say(f"{title}: {done:,} of {total:,}")

        yield count_up
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as shown:
        bar = shown.add_task(title, total=total)
        yield lambda count: shown.advance(bar, count)
