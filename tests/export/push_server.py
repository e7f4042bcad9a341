"""A server on this machine that takes uploads and gives files as the Hugging Face hub does."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class PushServer(ThreadingHTTPServer):
    """files: what was committed, by repository and path; private: of each repository that was created; stored: contents
    by SHA-256 that wait for their commit; status: what uploads are answered with, 200 or an error."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[tuple[str, str], bytes] = {}
        self.private: dict[str, bool] = {}
        self.stored: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.status = 200

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def push_server() -> Iterator[PushServer]:
    """A `PushServer` that answers inside this context."""
    server = PushServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answer(BaseHTTPRequestHandler):
    server: PushServer

    def do_POST(self) -> None:
        body = self.body()
        self.server.tokens.add(self.headers.get("Authorization", ""))
        part = self.path.split("/")
        if self.server.status != 200:
            self.answer(self.server.status, {"error": "no"})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.server.private[name] = asked.get("visibility") == "private" or asked.get("private", False)
            self.answer(200, {"url": f"{self.server.address}/{name}"})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            modes = {True: "lfs", False: "regular"}
            files = [
                {"path": one["path"], "uploadMode": modes[one["path"].endswith(".safetensors")], "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.server.address}/put/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self.answer(200, {"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            self.commit("/".join(part[3:5]), [json.loads(line) for line in body.splitlines()])
        else:
            self.answer(404, {"error": self.path})

    def do_PUT(self) -> None:
        content = self.body()
        self.server.stored[hashlib.sha256(content).hexdigest()] = content
        self.answer(200, {})

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        owner, name, *rest = self.path.strip("/").split("/")
        content = self.server.files.get((f"{owner}/{name}", "/".join(rest[2:])))
        if rest[:1] != ["resolve"] or content is None:
            self.answer(404, {"error": "no"}, {"X-Error-Code": "EntryNotFound"})
        else:
            digest = hashlib.sha256(content).hexdigest()
            self.send(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})

    def commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.server.files[repository, value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.files[repository, value["path"]] = self.server.stored[value["oid"]]
        self.answer(200, {"success": True, "commitUrl": f"{self.server.address}/{repository}/commit/{COMMIT}"})

    def answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        value = {"commitOid": COMMIT, **value} if isinstance(value, dict) else value
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
