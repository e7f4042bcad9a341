"""Download one file: interruptions are resumed by range requests, the SHA-256 is checked."""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from aoft_bench.data.tfds.http import find_cause, is_hopeless, origin_of, reason_of, total_of, validator_of
from aoft_bench.data.tfds.transfer_progress import amount, say
from aoft_bench.utils.errors import UserError, message_of
from aoft_bench.utils.files import is_full

_BLOCK = 2**16  # bytes written at once; the most that a broken connection loses
TIMEOUT = (20.0, 60.0)  # seconds: to connect, and without a byte
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)  # seconds between tries; after any progress the first one again
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


def fetch(
    url: str,
    target: Path,
    *,
    size: int | None,
    sha256: str | None,
    advance: Callable[[int], None] = lambda count: None,
    verify: bool = True,
    by_hand: Path | None = None,
) -> None:
    """Download `url` (http or https) to `target`, resuming an earlier try, and check the file.

    Bytes are written to `<target>.part`; `<target>.part.json` has the server's version of the file (ETag, date). After
    any interruption the next call asks for the rest (Range, If-Range); it starts from the beginning only if the server
    cannot resume or its file changed. Broken and stalled connections are tried again. A `target` that exists is checked
    in the same way.

    size: in bytes, sha256: in hex; checked if known. Without sha256 a part is resumed only if the server sent an ETag
    or a date. advance: called with the number of bytes that arrived, and with a negative number if all are discarded.
    by_hand: where the user may put the file, named in errors. Raises `UserError` if the file cannot be downloaded, is
    another one (then its part is deleted), or cannot be written (then its part is kept).
    """
    download = _Download(url, target, size, sha256.lower() if sha256 else None, advance, verify, by_hand)
    try:
        download.run()
    except OSError as error:
        raise download.unwritable(error) from error


class _BrokenError(Exception):
    """A connection that failed; `hopeless`: do not try again if no connection succeeded before."""

    def __init__(self, why: str, hopeless: bool = False) -> None:
        super().__init__(why)
        self.hopeless = hopeless


@dataclass
class _Download:
    """One download; the arguments are those of `fetch`."""

    url: str
    target: Path
    size: int | None
    sha256: str | None
    advance: Callable[[int], None]
    verify: bool
    by_hand: Path | None

    def __post_init__(self) -> None:
        self.part = part_of(self.target)
        self.sidecar = self.part.with_name(self.part.name + ".json")
        self.origin: dict[str, str | None] = {}
        self.done = self.furthest = 0
        self.connected = False
        self.digest = hashlib.sha256()

    def run(self) -> None:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if self.target.exists() and not self.part.exists():
            os.replace(self.target, self.part)
        with self._opened() as self.file, requests.Session() as self.session:
            self._resume()
            self._receive()
            self._check()
            os.fsync(self.file.fileno())
            os.replace(self.part, self.target)
            folder = os.open(self.target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # writes the rename to the disk
            finally:
                os.close(folder)
            self.sidecar.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[io.FileIO]:
        """The part, locked against other processes."""
        while True:
            with open(self.part, "a+b", buffering=0) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise UserError(
                        f"another process is downloading {self.url} to {self.part}; run this again when it is done"
                    ) from None
                except OSError:
                    pass  # a file system without locks
                if _is_at(file, self.part):  # else another process has just finished and moved it
                    yield file
                    return

    def _resume(self) -> None:
        """Hash the existing part, or discard it if nothing could show that the rest belongs to it."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.origin = json.loads(self.sidecar.read_text(encoding="utf-8"))
        size = os.fstat(self.file.fileno()).st_size
        another = self.origin.get("url", self.url) != self.url
        if another or (self.size is not None and size > self.size) or not (self.sha256 or validator_of(self.origin)):
            self.advance(-size)
            self._empty()
            return
        self.file.seek(0)
        while block := self.file.read(2**20):
            self.digest.update(block)
            self.done += len(block)
        self.furthest = self.done

    def _empty(self) -> None:
        self.file.truncate(0)
        self.done, self.digest, self.origin = 0, hashlib.sha256(), {}

    def _receive(self) -> None:
        failures = 0
        while self.size is None or self.done < self.size:
            before = self.furthest
            try:
                if self._request():
                    return
            except _BrokenError as broken:
                failures = 1 if self.furthest > before else failures + 1
                if failures > len(PAUSES) or (broken.hopeless and not self.connected):
                    kept = f"; the first {amount(self.done)} are kept, the next run goes on there" if self.done else ""
                    raise self._failed(f"{broken}{kept}; check the network, run it again later, or") from None
                pause = PAUSES[failures - 1]
                say(f"{urlsplit(self.url).hostname}: {broken} at {amount(self.done)}; trying again in {pause:g} s")
                time.sleep(pause)

    def _request(self) -> bool:
        """Request the missing bytes and store them; True if the file is complete, False to request again."""
        headers = {"Accept-Encoding": "identity"}  # a compressed transfer would have other offsets
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
            if validator := validator_of(self.origin):
                headers["If-Range"] = validator
        with self._get(headers) as response:
            code, origin = response.status_code, origin_of(self.url, response)
            if self.done and (code == 416 or (code == 206 and not self._continues(response, origin))):
                self._begin_again()
                return False
            if code in _TRY_AGAIN:
                raise _BrokenError(f"the server answers {code} ({response.reason})")
            if code != 200 and not (code == 206 and self.done):
                raise self._failed(f"the server answers {code} ({response.reason});")
            total = total_of(response, self.done)
            # refused before the part is discarded: another file, such as an error page
            if self.size is not None and total is not None and total != self.size:
                raise self._failed(f"the server offers {total} bytes instead of {self.size}: another file;")
            if code == 200 and self.done:
                self._begin_again()
            self.connected, self.origin = True, origin
            self.sidecar.write_text(json.dumps(origin) + "\n", encoding="utf-8")
            self._store(response)
        expected = self.size if total is None else total
        if expected is not None and self.done < expected:
            raise _BrokenError("the connection ended early")
        return True

    def _get(self, headers: dict[str, str]) -> requests.Response:
        try:
            return self.session.get(self.url, headers=headers, stream=True, timeout=TIMEOUT, verify=self.verify)
        except requests.ConnectionError as error:  # its SSLError too
            untrusted = find_cause(error, ssl.SSLCertVerificationError)
            if not untrusted:
                raise _BrokenError(reason_of(error, self.url, TIMEOUT[1]), hopeless=is_hopeless(error)) from error
            self._do_without_certificate(untrusted)
            return self._get(headers)
        except requests.Timeout as error:
            raise _BrokenError(reason_of(error, self.url, TIMEOUT[1])) from error
        except (requests.RequestException, OSError) as error:  # an invalid URL or certificate store
            raise self._failed(f"{message_of(error)};") from error

    def _do_without_certificate(self, untrusted: ssl.SSLCertVerificationError) -> None:
        host, reason = urlsplit(self.url).hostname, untrusted.verify_message
        if not self.sha256:
            raise self._failed(f"the certificate of {host} is not valid ({reason}) and no SHA-256 is known;")
        say(f"the certificate of {host} is not valid ({reason}): downloading all the same, the SHA-256 will be checked")
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self.verify = False

    def _continues(self, response: requests.Response, origin: dict[str, str | None]) -> bool:
        """Whether a 206 has the requested bytes of the same version of the file."""
        if not re.match(rf"bytes {self.done}-", response.headers.get("Content-Range", "")):
            return False
        known = ((self.origin.get(name), origin[name]) for name in ("etag", "modified"))
        return all(before == now for before, now in known if before and now)

    def _begin_again(self) -> None:
        say(f"{urlsplit(self.url).hostname} cannot go on at {amount(self.done)} of {self.target.name}: from the start")
        self.advance(-self.done)
        self._empty()

    def _store(self, response: requests.Response) -> None:
        try:
            for block in response.raw.stream(_BLOCK, decode_content=False):
                self._write(block)
                if self.size is not None and self.done > self.size:
                    return
        except urllib3.exceptions.HTTPError as error:
            raise _BrokenError(reason_of(error, self.url, TIMEOUT[1])) from error

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:  # an unbuffered file may write less than all
            rest = rest[self.file.write(rest) :]
        self.digest.update(block)
        self.done += len(block)
        self.furthest = max(self.furthest, self.done)
        self.advance(len(block))

    def _check(self) -> None:
        got = self.digest.hexdigest()
        if self.size is not None and self.done != self.size:
            wrong = f"more than the {self.size} bytes that were expected arrived"
        elif self.sha256 and got != self.sha256:
            wrong = f"what arrived has the SHA-256 {got} instead of {self.sha256}"
        else:
            return
        self.part.unlink()
        self.sidecar.unlink(missing_ok=True)
        raise self._failed(f"{wrong} and was deleted; run it again, or")

    def _failed(self, why: str) -> UserError:
        """The error with the reason `why`, which ends so that "get the file elsewhere" can follow."""
        facts = [f"{self.size} bytes"] if self.size is not None else []
        facts += [f"SHA-256 {self.sha256}"] if self.sha256 else []
        copy = f" (a copy from any mirror will do: {', '.join(facts)})" if facts else ""
        place = f" and put it at {self.by_hand}" if self.by_hand else ""
        return UserError(f"cannot download {self.url}: {why} get the file elsewhere{copy}{place}")

    def unwritable(self, error: OSError) -> UserError:
        """The error of a part that cannot be written."""
        if is_full(error):
            return UserError(
                f"cannot download {self.url}: the disk is full at {amount(self.done)} of {self.part} "
                f"({error.strerror}); free some space and run it again, what arrived is kept"
            )
        return UserError(
            f"cannot download {self.url}: cannot write {error.filename or self.part} ({error.strerror}); "
            f"mend the permissions of {self.part.parent} or choose another folder"
        )


def part_of(target: Path) -> Path:
    """Where `fetch` keeps the bytes of `target` until it is complete."""
    return target.with_name(target.name + ".part")


def _is_at(file: io.FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
