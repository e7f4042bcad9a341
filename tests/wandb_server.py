"""A stand-in for W&B's server: enough of its interface to start, resume and upload runs, and to hold what was sent."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"


@dataclass
class Stored:
    """A run on the server. upserts: what was asked of it, in order; files: the lines of each streamed file."""

    upserts: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files.get(HISTORY, [])]

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads(self.files.get(SUMMARY, ["{}"])[-1])


class Server(ThreadingHTTPServer):
    """runs: by id; hanging: while set, requests to change something wait for an answer that never comes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: dict[str, Stored] = {}
        self.queries: list[str] = []
        self.hanging, self.closing = threading.Event(), threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that goes away is part of the tests."""

    def stream(self, run: str, sent: dict[str, Any]) -> dict[str, Any]:
        stored = self.runs.setdefault(run, Stored())
        for name, part in (sent.get("files") or {}).items():
            lines = stored.files.setdefault(name, [])
            lines[part["offset"] :] = part["content"]
        if sent.get("complete"):
            stored.exit_code = sent.get("exitcode")
        return {}

    def query(self, text: str, values: dict[str, Any]) -> dict[str, Any]:
        name = text.split("(")[0].split("{")[0].split()[-1]
        self.queries.append(name)
        if name == "UpsertBucket":
            new = values["name"] not in self.runs
            stored = self.runs.setdefault(values["name"], Stored())
            stored.upserts.append(values)
            bucket = {"id": values["name"], "name": values["name"], "displayName": values.get("displayName")}
            bucket |= {"project": PROJECT, "sweepName": None, "historyLineCount": len(stored.rows), "config": "{}"}
            return {"upsertBucket": {"bucket": bucket, "inserted": new}}
        if name == "RunResumeStatus":
            return {"model": {**PROJECT, "bucket": self._resumed(values["name"])}}
        if name == "Viewer":
            return {"viewer": {"id": "V", "entity": "me", "username": "me", "teams": {"edges": []}}}
        if name == "CreateRunFiles":
            return {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": []}}
        return {"serverInfo": {"features": []}} if name == "ServerFeaturesQuery" else {}

    def _resumed(self, run: str) -> dict[str, Any] | None:
        if run not in self.runs:
            return None
        stored = self.runs[run]
        tail = [json.dumps(row) for row in stored.rows[-1:]]
        counts = {"historyLineCount": len(stored.rows), "eventsLineCount": 0, "logLineCount": 0}
        texts = {"historyTail": json.dumps(tail), "eventsTail": "[]", "summaryMetrics": json.dumps(stored.summary)}
        return {"id": run, "name": run, "displayName": run, "config": "{}", "wandbConfig": '{"t": {}}'} | counts | texts


PROJECT = {"id": "P", "name": "aoft_bench", "entity": {"id": "E", "name": "me"}}


class Handler(BaseHTTPRequestHandler):
    """Answers GraphQL and the file stream; all else that W&B sends is taken and dropped."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._reply({})

    do_PUT = do_GET  # noqa: N815, the name that http.server looks for

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.hanging.is_set():
            self.server.closing.wait()
            self.close_connection = True
            return
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self.server.lock:
            if self.path.endswith("/file_stream"):
                self._reply(self.server.stream(self.path.split("/")[-2], json.loads(body)))
            elif self.path == "/graphql":
                sent = json.loads(body)
                self._reply({"data": self.server.query(sent["query"], sent.get("variables") or {})})
            else:
                self._reply({})

    def _reply(self, answer: dict[str, Any]) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of this machine."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
