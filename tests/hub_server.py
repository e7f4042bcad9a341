"""A server on this machine that answers like the Hugging Face hub, or like what is between it and a user.

The hub answers a request for a large file with its size, its SHA-256 and the commit, and sends on to another host,
which has the bytes. Here that is the same server under its other name, localhost.
"""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from aoft_bench.utils import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ERRORS = {  # what the hub answers: status and headers
    "no repository": (404, {"X-Error-Code": "RepoNotFound"}),
    "no file": (404, {"X-Error-Code": "EntryNotFound"}),
    "not found": (404, {}),
    "who are you": (401, {}),
    "gated": (403, {"X-Error-Code": "GatedRepo"}),
    "gated, no token": (401, {"X-Error-Code": "GatedRepo"}),
    "forbidden": (403, {}),
    "too many": (429, {"RateLimit": '"resolvers";r=0;t=55'}),
    "too many, plain": (429, {"Retry-After": "7"}),
    "teapot": (418, {}),
    "fault": (500, {}),
    "busy": (503, {}),
}
PORTAL = b"<html><body>Welcome to Hotel Wi-Fi. Please log in.</body></html>"


class FakeHub(ThreadingHTTPServer):
    """Serves `files`, bytes by (repository, name), on 127.0.0.1 only.

    wrong: what is wrong with the next requests: a key of ERRORS; "portal" answers all with a page, "portal elsewhere"
    sends on to one; "hang" never answers; "hang later" and "error later" only in the download; "cut" closes the
    connection half-way, once; "short" sends and announces half; "changed" sends other bytes; "slow" takes 0.1 s for
    each thousandth.
    requests: method, path and first byte of each.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[tuple[str, str], bytes] = {}
        self.wrong = ""
        self.requests: list[tuple[str, str, int]] = []
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Print nothing for a client that went away."""


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """A `FakeHub` that answers inside this context."""
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def hub_of_this_process(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[FakeHub]:
    """A `FakeHub` that huggingface_hub asks in this process, with an empty cache in `folder`/hub."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with running_hub() as server:
        values = {
            "ENDPOINT": server.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.address + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(folder / "hub"),
            "HF_TOKEN_PATH": str(folder / "token"),
            "HF_HUB_DOWNLOAD_TIMEOUT": 0.2,
            "DOWNLOAD_CHUNK_SIZE": 1000,
        }
        for name, value in values.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(hub, "FIRST_TIMEOUT", 0.5)
        yield server


class _Answer(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Answer as the hub, or as a host of the files."""
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.server.requests.append((self.command, self.path, first))
        wrong, on_host = self.server.wrong, self.path.startswith("/bytes/")
        if wrong == "hang" or (wrong == "hang later" and on_host):
            self.server.closing.wait()
        elif wrong == "portal":
            self.send(200, {"Content-Type": "text/html"}, PORTAL)
        elif wrong == "portal elsewhere":
            self.send(302, {"Location": f"http://localhost:{self.server.server_port}/login"}, PORTAL)
        elif wrong in ERRORS:
            self.send(*ERRORS[wrong], b"no")
        elif wrong == "error later" and on_host:
            self.send(503, {}, b"no")
        elif on_host:
            self.send_file(first)
        else:
            self.send_on()

    def send_on(self) -> None:
        """Answer as the hub: what the file is, and where."""
        path = re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/main/(.+)", self.path)
        repository, name = path.groups() if path else ("", "")
        content = self.server.files.get((repository, name))
        if content is None:
            return self.send(*ERRORS["no file"], b"")
        digest = hashlib.sha256(content).hexdigest()
        where = f"http://localhost:{self.server.server_port}/bytes/{repository}/{name}"
        self.send(
            302,
            {
                "Location": where,
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": str(len(content)),
            },
            b"",
        )

    def send_file(self, first: int) -> None:
        """Answer as the host of the files, from the byte `first` on."""
        _, _, owner, model, name = self.path.split("/")
        content = self.server.files[f"{owner}/{model}", name]
        wrong, total = self.server.wrong, len(content)
        if wrong == "changed":
            content = bytes(total)
        elif wrong == "short":
            content = content[: total // 2]
        end = len(content)
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(end - first))
        self.send_header("Content-Range", f"bytes {first}-{end - 1}/{end}")
        self.end_headers()
        if wrong == "cut":
            self.server.wrong = ""
            end = total // 2
        step = max(1, total // 1000) if wrong == "slow" else end
        for start in range(first, end, step):
            self.wfile.write(content[start : min(end, start + step)])
            if wrong == "slow" and self.server.closing.wait(0.1):
                return

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
