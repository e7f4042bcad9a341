"""A downloader for TFDS that resumes and checks files with `fetch`."""

import contextlib
import hashlib
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aoft_bench.data.tfds.fetch import fetch, part_of
from aoft_bench.data.tfds.transfer_progress import Bar, Lines, amount, bars
from aoft_bench.utils.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress

_SIMULTANEOUS = 4


class _StoppedError(Exception):
    """Raised in the thread of a download that was cancelled."""


@dataclass(frozen=True)
class _Order:
    """One file that TFDS needs: `fetch` writes it to `target`, then it is moved to the folder `destination`."""

    url: str
    name: str
    info: Any
    target: Path
    destination: Any
    verify: bool
    stop: threading.Event
    future: "Future[Any]"

    @property
    def size(self) -> int | None:
        return int(self.info.size) if self.info else None

    def check_stopped(self) -> None:
        if self.stop.is_set():
            raise _StoppedError

    def arrived(self) -> int:
        """The number of bytes on the disk, of a complete or partial file."""
        for path in (part_of(self.target), self.target):
            with contextlib.suppress(FileNotFoundError):
                return path.stat().st_size
        return 0

    def remove_destination(self) -> None:
        """Remove the temporary folder that TFDS makes for every file, if it is empty."""
        with contextlib.suppress(OSError):
            Path(self.destination).rmdir()


class ResumingDownloader:
    """The interface of the downloader in TFDS's DownloadManager (4.9.7 to 4.9.10), on top of `fetch`.

    Partial files are in `parts`, named by their URL, so that another process can resume them. `url_infos` (URL ->
    tensorflow_datasets UrlInfo) has sizes and checksums; `manual` is TFDS's manual_dir, named in errors. TFDS's own
    downloader is used for other URLs than http and https, and for Google Drive with its confirmation pages; no builder
    of VTAB-1k has any.
    """

    def __init__(
        self, parts: Path, url_infos: Mapping[str, Any], manual: Path, simultaneous: int = _SIMULTANEOUS
    ) -> None:
        self._parts, self._url_infos, self._manual = parts, url_infos, manual
        self._slots = threading.Semaphore(simultaneous)
        self._lock = threading.Lock()
        self._missing: dict[str, int] = {}  # URL to the bytes that have not arrived
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._open = contextlib.ExitStack()
        self._bars: Progress | None = None

    @contextlib.contextmanager
    def tqdm(self) -> Iterator[None]:
        """A context for the downloads of one call; an exception, also Ctrl-C, cancels them."""
        self._stop = threading.Event()
        try:
            with contextlib.ExitStack() as self._open:
                yield
        except BaseException:
            self._stop.set()
            deadline = time.monotonic() + 2  # a thread that waits for its server ends later, harmlessly
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            raise
        finally:
            self._threads.clear()
            with self._lock:
                self._missing.clear()
                self._close_bars()

    def increase_tqdm(self, url_info: Any) -> None:
        """Called by TFDS for a file that exists already; shows nothing."""

    def download(self, url: str, destination_path: Any, verify: bool = True) -> Any:
        """A promise of the DownloadResult of `url` in the folder `destination_path`.

        Raises `UserError` if the disk has too little space; the promise fails with the errors of `fetch`.
        """
        import promise

        if not re.match(r"https?://(?!drive\.google\.com/)", url):
            return self._download_with_tfds(url, destination_path, verify)
        info = self._url_infos.get(url)
        name = os.path.basename((info.filename if info else None) or urlsplit(url).path.replace("%2F", "_")) or "file"
        target = self._parts / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
        order = _Order(url, name, info, target, destination_path, verify, self._stop, Future())
        try:
            self._check_space(order)
        except UserError:
            order.remove_destination()
            raise
        # a daemon, because on Ctrl-C the interpreter would wait for the threads of an executor
        thread = threading.Thread(target=self._settle, args=(order,), daemon=True)
        self._threads.append(thread)
        thread.start()
        return promise.Promise.resolve(order.future)

    def _download_with_tfds(self, url: str, destination_path: Any, verify: bool) -> Any:
        from tensorflow_datasets.core.download import downloader  # type: ignore[import-untyped]

        original = downloader.get_downloader()
        self._open.enter_context(original.tqdm())
        return original.download(url, destination_path, verify=verify)

    def _check_space(self, order: _Order) -> None:
        """Fail before the download if the disk is too small for all files that have not arrived."""
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._parts).free
        except OSError as error:
            raise UserError(
                f"cannot download {order.url}: cannot write {self._parts} ({error.strerror}); mend its permissions or "
                f"choose another folder"
            ) from error
        with self._lock:
            self._missing[order.url] = 0 if order.size is None else max(0, order.size - order.arrived())
            needed, files = sum(self._missing.values()), len(self._missing)
        if needed > free:
            more = f" and the {files - 1} before it" if files > 1 else ""
            raise UserError(
                f"cannot download {order.url}: {amount(needed)} are needed for it{more}, {amount(free)} are free in "
                f"{self._parts}; free some space or choose a folder on another disk"
            )

    def _settle(self, order: _Order) -> None:
        result, failure = None, None
        try:
            with self._slots:
                result = self._work(order)
        except BaseException as error:  # passed on by the future
            order.remove_destination()
            failure = error
        with self._lock:
            self._missing.pop(order.url, None)
            if not self._missing:
                self._close_bars()  # before TFDS extracts and shows its own bars
        if failure is None:
            order.future.set_result(result)
        else:
            order.future.set_exception(failure)

    def _work(self, order: _Order) -> Any:
        """Fetch a file, move it to its destination, and make TFDS's DownloadResult."""
        from tensorflow_datasets.core.download import checksums, downloader

        info = order.info
        order.check_stopped()
        shown = self._progress(order)

        def advance(count: int) -> None:
            order.check_stopped()
            shown.advance(count)

        size, sha256 = order.size, info.checksum if info else None
        by_hand = self._manual / info.filename if info and info.filename else None
        fetch(order.url, order.target, size=size, sha256=sha256, advance=advance, verify=order.verify, by_hand=by_hand)
        shown.finish()
        path = order.destination / order.name
        try:
            shutil.move(order.target, os.fspath(path))
        except OSError as error:
            raise UserError(
                f"cannot move {order.target} to {path} ({error.strerror}); free some space there or mend the "
                f"permissions and run it again, the file need not be downloaded again"
            ) from error
        url_info = replace(info, filename=order.name) if info else checksums.compute_url_info(path)
        return downloader.DownloadResult(path=path, url_info=url_info)

    def _progress(self, order: _Order) -> Bar | Lines:
        if not sys.stderr.isatty():
            return Lines(order.name, urlsplit(order.url).hostname or "", order.size, order.arrived())
        with self._lock:
            if self._bars is None:
                self._bars = bars()
                self._bars.start()
            return Bar(self._bars, order.name, order.size, order.arrived())

    def _close_bars(self) -> None:
        if self._bars:
            self._bars.stop()
        self._bars = None


@contextlib.contextmanager
def install(parts: Path, url_infos: Mapping[str, Any] | None, manual: Path) -> Iterator[None]:
    """A context in which new DownloadManagers of TFDS use a `ResumingDownloader`.

    `url_infos` are those of the builder; those of all other builders are added, as TFDS does. `parts` should be on the
    disk of TFDS's download_dir. Raises `UserError` if this version of TFDS has another interface.
    """
    import tensorflow_datasets  # type: ignore[import-untyped]
    from tensorflow_datasets.core.download import checksums, download_manager

    original = getattr(download_manager, "get_downloader", None)
    if not callable(original):
        raise UserError(
            f"tensorflow_datasets {tensorflow_datasets.__version__} has no download_manager.get_downloader, which "
            f"aoft_bench replaces to resume downloads; install one that has: pip install tensorflow-datasets==4.9.10"
        )
    known = {**checksums.get_all_url_infos(), **(url_infos or {})}

    def get_downloader(max_simultaneous_downloads: int | None = None, **_: Any) -> ResumingDownloader:
        return ResumingDownloader(parts, known, manual, min(max_simultaneous_downloads or _SIMULTANEOUS, _SIMULTANEOUS))

    download_manager.get_downloader = get_downloader
    try:
        yield
    finally:
        download_manager.get_downloader = original
