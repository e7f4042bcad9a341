"""Files at the Hugging Face hub, or at the mirror that HF_ENDPOINT names: found in the cache here, or downloaded.

huggingface_hub keeps the cache, retries, and goes on after a connection that broke. Here is what it leaves to its
callers: a line that says what went wrong and what to do, and progress in a log.
"""

import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx2
import huggingface_hub as hub
from huggingface_hub import constants, errors
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]
from huggingface_hub.utils.tqdm import tqdm

from aoft_bench.utils.errors import UserError, first_line
from aoft_bench.utils.files import is_full

FIRST_TIMEOUT = 5  # seconds for the first answer, unless HF_HUB_ETAG_TIMEOUT is set
DOWNLOAD_LOG_EVERY = 15  # seconds between two lines of progress in a log


class HubFile(NamedTuple):
    """A file of a repository. what: what it is, in messages, in the plural; otherwise: what to do without the hub."""

    repository: str
    name: str
    what: str
    otherwise: str
    kind: Literal["model", "dataset"] = "model"


def cached(file: HubFile) -> Path | None:
    """Where the file is in the hub's cache on this machine; None if it is not there."""
    found = hub.try_to_load_from_cache(file.repository, file.name, repo_type=file.kind)
    return Path(found) if isinstance(found, str) else None


def digest_in_cache(path: Path) -> str | None:
    """The SHA-256 that a file of the hub's cache should have; None if it is not known.

    The cache names large files by it. It is not known on disks without symbolic links.
    """
    name = path.resolve().name
    return name if len(name) == 64 and not set(name) - set("0123456789abcdef") else None


def ask(file: HubFile) -> hub.HfFileMetadata:
    """What the hub says about the file, in one request. Raises `UserError` if the hub would not give it."""
    set_by_user = constants.HF_HUB_ETAG_TIMEOUT != constants.DEFAULT_ETAG_TIMEOUT
    timeout = constants.HF_HUB_ETAG_TIMEOUT if set_by_user else FIRST_TIMEOUT
    try:
        url = hub.hf_hub_url(file.repository, file.name, repo_type=file.kind)
        found = hub.get_hf_file_metadata(url, timeout=timeout)
    except Exception as error:
        raise _refusal(file, _problem(error, file)) from None
    if not found.commit_hash or not found.etag:
        raise _refusal(
            file,
            f"the answer from {constants.ENDPOINT} is not the hub's but that of a log-in page (captive portal) or a "
            "proxy; open any page in a browser, log in and run again, or give a proxy by HTTPS_PROXY",
        )
    return found


def download(file: HubFile, *, damaged: Path | None = None) -> Path:
    """Download the file to the hub's cache, in the place of a damaged one. Raises `UserError` if that fails."""
    found = ask(file)  # the download itself retries for 23 to 46 s before it gives up
    if damaged:
        _say(f"{damaged} is damaged: its SHA-256 is not the one that the cache names it by")
    size = f"{found.size / 1e6:,.0f} MB" if found.size else "size unknown"
    _say(f"fetching {file.what} ({size}) from {constants.ENDPOINT}")
    options: dict[str, Any] = {"force_download": damaged is not None}
    options["tqdm_class"] = None if sys.stderr.isatty() else _DownloadLines
    try:
        with _said_when_stopped(file):
            return Path(hub.hf_hub_download(file.repository, file.name, repo_type=file.kind, **options))
    except Exception as error:
        raise _refusal(file, _problem(error, file)) from None


class _DownloadLines(tqdm):  # type: ignore[misc]
    """The progress of a download as a line now and then, for a log."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.last = time.monotonic()
        # tqdm itself writes to nowhere: its bars go back to the start of their line
        options |= {"disable": False, "file": io.StringIO(), "mininterval": DOWNLOAD_LOG_EVERY}
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]

    def display(self, *_: Any, **__: Any) -> bool:
        """Print a line, if it is time for one. tqdm calls this."""
        if time.monotonic() - self.last >= DOWNLOAD_LOG_EVERY or (self.n and self.n == self.total):
            self.last = time.monotonic()
            rate = self.format_dict["rate"]
            total = f" of {self.total / 1e6:,.0f}" if self.total else ""
            _say(f"fetched {self.n / 1e6:,.0f}{total} MB" + (f", {rate / 1e6:.1f} MB/s" if rate else ""))
        return True

    def update_transfer(self, *_: Any) -> None:
        """Count nothing: huggingface_hub would else show a second bar for the bytes on the wire."""

    set_transfer_postfix_str = update_transfer


@contextmanager
def _said_when_stopped(file: HubFile) -> Iterator[None]:
    """Say on Ctrl-C, or SIGTERM, that nothing of the file is kept: huggingface_hub 2 deletes what it has."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        _say(f"\nthe download of {file.what} was stopped; it starts from the beginning next time")
        raise


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refusal(file: HubFile, problem: str) -> UserError:
    return UserError(f"{file.what} are not here and {problem}; or {file.otherwise}")


def _hub() -> str:
    mirror = constants.ENDPOINT != "https://huggingface.co"
    return f"the mirror {constants.ENDPOINT} (HF_ENDPOINT)" if mirror else "the Hugging Face hub"


def _problem(error: Exception, file: HubFile) -> str:
    """What went wrong, and what to do."""
    cause = error.__cause__  # huggingface_hub wraps what failed in its first request
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(cause, Exception):
        error = cause
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so the hub is not asked; unset it and run once with a network"
    if isinstance(error, errors.HfHubHTTPError):
        return _refused_by_hub(error, file)
    if isinstance(error, httpx2.TransportError | httpx2.InvalidURL):
        return _lost_connection(error)
    if is_full(error):
        return f"the disk is full; free some space in {constants.HF_HUB_CACHE}, or give another folder by HF_HOME"
    if isinstance(error, OSError) and error.errno:
        return f"the hub's cache {constants.HF_HUB_CACHE} refused them: {error.strerror}; give another by HF_HOME"
    if isinstance(error, OSError) and "size" in str(error):  # huggingface_hub compares it with what was announced
        return f"{_hub()} sent another number of bytes than it announced; run again"
    return f"they cannot be fetched ({type(error).__name__}: {first_line(error)}); run again"


def _refused_by_hub(error: errors.HfHubHTTPError, file: HubFile) -> str:
    """What an HTTP status means here."""
    page = f"{constants.ENDPOINT}/{'datasets/' if file.kind == 'dataset' else ''}{file.repository}"
    status = error.response.status_code
    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        return f"{_hub()} gives them only to who accepted their terms ({status}); accept them at {page} and {log_in}"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"{_hub()} has {file.repository}, but no file {file.name} in it ({status}); see {page}/tree/main"
    if status == 401 and hub.get_token():
        return f"{_hub()} does not accept your token for {file.repository} ({status}); {log_in} again"
    if status == 401:
        return f"{_hub()} has no public {file.repository} ({status}); if it is private or gated, {log_in}"
    if status == 403:
        return f"{_hub()}, or a firewall before it, forbids {file.repository} ({status}); see {page}, and {log_in}"
    if status == 404:
        elsewhere = "see" if _hub().startswith("the Hugging") else "unset HF_ENDPOINT, or see"
        return f"{_hub()} has no {file.repository} ({status}); {elsewhere} {page}"
    if status == 429:
        limit = parse_ratelimit_headers(error.response.headers)
        seconds = limit.reset_in_seconds if limit else error.response.headers.get("Retry-After", "some")
        return f"{_hub()} had too many requests from your address ({status}); run again after {seconds} s, or {log_in}"
    if status >= 500:
        return f"{_hub()} has a fault of its own ({status}); run again later"
    return f"{_hub()} answered {status}: {first_line(error)}; run again"


def _lost_connection(error: httpx2.TransportError | httpx2.InvalidURL) -> str:
    """What a request that got no answer means here."""
    reason = first_line(error)
    if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return f"HF_ENDPOINT={constants.ENDPOINT} is no address ({reason}); give one as https://example.org"
    if isinstance(error, httpx2.TimeoutException):
        slow = "HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT"
        return f"{_hub()} does not answer ({type(error).__name__}); run again, on a slow network with larger {slow}"
    if isinstance(error, httpx2.ProxyError):
        return f"the proxy (HTTPS_PROXY) refused: {reason}; correct its address"
    if "CERTIFICATE" in reason:
        return (
            f"{_hub()} cannot be reached: its certificate is not trusted ({reason}); name your proxy's by SSL_CERT_FILE"
        )
    if isinstance(error, httpx2.ConnectError):
        return f"{_hub()} cannot be reached ({reason}); run once with a network"
    return f"the connection to {_hub()} broke ({reason or type(error).__name__}); run again"
