"""Progress of long work on images: a bar on a terminal, a line now and then in a log."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOG_EVERY = 30.0  # seconds between two lines in a log
POLL = 0.2  # seconds between two looks at whether there is something to say


class LogLines:
    """Lines in a log, from `start` to `stop` at least one every `LOG_EVERY` seconds, however long a step takes.

    text: gives the line, in a thread of its own; empty: nothing to say yet. first: seconds until the first line.
    """

    def __init__(self, text: Callable[[], str], first: float | None = None) -> None:
        self._text, self._stopped = text, threading.Event()
        self._next = time.monotonic() + (LOG_EVERY if first is None else first)
        self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)

    def start(self) -> None:
        """Begin. As a context manager it starts and stops by itself."""
        self._thread.start()

    def stop(self) -> None:
        """Print no more lines."""
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> "LogLines":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def say(self, text: str) -> None:
        """Print a line on stderr; the next one is due `LOG_EVERY` seconds later."""
        self._next = time.monotonic() + LOG_EVERY
        print(text, file=sys.stderr, flush=True)

    def _run(self) -> None:
        while not self._stopped.wait(max(POLL, self._next - time.monotonic())):
            if time.monotonic() >= self._next and (text := self._text()):
                self.say(text)


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
        done = 0

        def count_up(count: int) -> None:
            nonlocal done
            done += count

        with LogLines(lambda: f"{title}: {done:,} of {total:,}"):
            yield count_up
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as shown:
        bar = shown.add_task(title, total=total)
        yield lambda count: shown.advance(bar, count)
