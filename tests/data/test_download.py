"""Downloads from a local server that drops, stalls and sends wrong files: resumed, checked, explained in one line."""

import contextlib
import fcntl
import hashlib
import os
import random
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aoft_bench.data.tfds import fetch as fetching
from aoft_bench.data.tfds import transfer_progress
from aoft_bench.data.tfds.download import ResumingDownloader, fetch, install
from aoft_bench.utils.errors import UserError

DATA = random.Random(0).randbytes(1_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@dataclass
class Site:
    """What the server has and how it misbehaves; `drops` and `codes` hold one entry for each request to come."""

    files: dict[str, bytes] = field(default_factory=lambda: {"/a.zip": DATA})
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    heeds_if_range: bool = True
    tells_length: bool = True
    drops: list[int | None] = field(default_factory=list)  # bytes after which the connection is cut
    codes: list[int] = field(default_factory=list)
    stall: float = 0.0  # seconds of silence where it is cut
    delay: float = 0.0  # seconds before every 10 kB
    asked: list[tuple[str | None, str | None, int]] = field(default_factory=list)  # Range, If-Range, answer
    encoding: str | None = None  # the Accept-Encoding of the last request
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """Serves a Site."""

    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site, content = self.site, self.site.files.get(self.path)
        wanted, if_range = self.headers["Range"], self.headers["If-Range"]
        site.encoding = self.headers["Accept-Encoding"]
        start, code = 0, 200 if content is not None else 404
        if content is not None and wanted and site.ranges:
            same = not site.heeds_if_range or if_range in (None, site.etag, site.modified)
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if same else 0
            code = 206 if same else 200
            code = 416 if start >= len(content) else code
        if site.codes:
            code = site.codes.pop(0)
        site.asked.append((wanted, if_range, code))
        body = content[start:] if content is not None and code in (200, 206) else b"sorry"
        self.send_response(code)
        if site.tells_length:
            self.send_header("Content-Length", str(len(body)))
        if code == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content or b'') - 1}/{len(content or b'')}")
        for name, value in (("ETag", site.etag), ("Last-Modified", site.modified)):
            if value and code in (200, 206):
                self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        drop = site.drops.pop(0) if site.drops else None
        for at in range(0, len(body[:drop]), 10_000):
            time.sleep(site.delay)
            self.wfile.write(body[:drop][at : at + 10_000])
        if drop is not None:
            time.sleep(site.stall)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Silent about clients that were killed."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(certificate: Path | None = None, port: int = 0) -> Iterator[Site]:
    site = Site()
    server = Server(("127.0.0.1", port), type("SiteHandler", (Handler,), {"site": site}))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site.url = f"http{'s' if certificate else ''}://localhost:{server.server_port}/a.zip"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield site
    server.shutdown()
    server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as one:
        yield one


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSES", (0.0, 0.0, 0.0))


def get(site: Site, target: Path, **options) -> list[int]:
    """fetch() of the site's file; the counts that were reported."""
    counts: list[int] = []
    fetch(site.url, target, **({"size": len(DATA), "sha256": SHA256, "advance": counts.append} | options))
    return counts


def refused(site: Site, target: Path, **options) -> str:
    with pytest.raises(UserError) as raised:
        get(site, target, **options)
    text = str(raised.value)
    assert "\n" not in text and site.url in text
    return text


def arrived(target: Path) -> None:
    """The file is right and alone."""
    assert target.read_bytes() == DATA
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def leave_part(site: Site, target: Path, count: int) -> None:
    """What a try leaves that the server cut after `count` bytes."""
    site.drops = [count, 0, 0, 0]
    assert f"the first {count / 1e3:.0f} kB are kept" in refused(site, target)
    assert target.with_name(f"{target.name}.part").read_bytes() == DATA[:count]
    assert not target.exists()
    site.asked.clear()


def test_a_file_is_downloaded(site, tmp_path):
    counts = get(site, tmp_path / "new" / "a.zip", sha256=SHA256.upper())
    arrived(tmp_path / "new" / "a.zip")
    assert sum(counts) == len(DATA) and len(counts) > 10
    assert site.asked == [(None, None, 200)] and site.encoding == "identity"


@pytest.mark.parametrize(
    ("etag", "modified", "validator"),
    [
        ('"one"', "Sat, 01 Jan 2000 00:00:00 GMT", '"one"'),
        ('W/"one"', "Sat, 01 Jan 2000 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"),
        ('W/"one"', None, None),
        (None, None, None),
    ],
)
def test_the_next_try_asks_for_the_rest(site, tmp_path, etag, modified, validator):
    site.etag, site.modified = etag, modified
    leave_part(site, tmp_path / "a.zip", 400_000)
    assert sum(get(site, tmp_path / "a.zip")) == 600_000
    arrived(tmp_path / "a.zip")
    assert site.asked == [("bytes=400000-", validator, 206)]


def test_a_dropped_connection_goes_on_where_it_stood(site, tmp_path, capsys):
    site.drops = [500_000, 200_000, 0, 0]
    assert sum(get(site, tmp_path / "a.zip")) == len(DATA)
    arrived(tmp_path / "a.zip")
    wanted = [None, "bytes=500000-", "bytes=700000-", "bytes=700000-", "bytes=700000-"]
    assert [one[0] for one in site.asked] == wanted
    assert "localhost: the connection ended early at 500 kB; trying again in 0 s" in capsys.readouterr().err


def test_a_stalled_connection_is_given_up_and_resumed(site, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetching, "TIMEOUT", (5.0, 0.5))
    site.drops, site.stall = [300_000], 3.0
    get(site, tmp_path / "a.zip")
    arrived(tmp_path / "a.zip")
    assert site.asked[1][0] is not None and site.asked[1][2] == 206
    assert "nothing arrived for 0.5 s" in capsys.readouterr().err


def test_a_server_that_cannot_resume_is_asked_from_the_start(site, tmp_path, capsys):
    site.ranges = False
    site.drops = [600_000]
    assert sum(get(site, tmp_path / "a.zip")) == len(DATA)
    arrived(tmp_path / "a.zip")
    assert site.asked == [(None, None, 200), ("bytes=600000-", '"one"', 200)]
    assert "cannot go on at 600 kB of a.zip: from the start" in capsys.readouterr().err


def test_a_server_that_never_gets_further_is_given_up(site, tmp_path):
    site.ranges, site.drops = False, [600_000, 500_000, 600_000, 600_000, 600_000]
    assert "the connection ended early; the first" in refused(site, tmp_path / "a.zip")
    assert len(site.asked) == 4


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_on_the_server_is_downloaded_anew(site, tmp_path, heeds):
    new = DATA[::-1]
    leave_part(site, tmp_path / "a.zip", 400_000)
    site.files["/a.zip"], site.etag, site.heeds_if_range = new, '"two"', heeds
    get(site, tmp_path / "a.zip", sha256=hashlib.sha256(new).hexdigest())
    assert (tmp_path / "a.zip").read_bytes() == new
    assert [one[2] for one in site.asked] == ([200] if heeds else [206, 200])


def test_a_range_that_does_not_exist_any_more(site, tmp_path):
    leave_part(site, tmp_path / "a.zip", 400_000)
    site.codes = [416]
    get(site, tmp_path / "a.zip")
    arrived(tmp_path / "a.zip")


def test_a_part_of_another_address_or_too_long_is_not_used(site, tmp_path):
    leave_part(site, tmp_path / "a.zip", 400_000)
    site.files["/b.zip"] = DATA
    site.url = site.url.replace("a.zip", "b.zip")
    assert sum(get(site, tmp_path / "a.zip")) == 600_000  # minus 400,000 that were there
    arrived(tmp_path / "a.zip")
    (tmp_path / "a.zip.part").write_bytes(DATA + b"more")
    get(site, tmp_path / "a.zip")
    assert [one[0] for one in site.asked] == [None, None]


def test_a_part_without_its_sidecar_needs_the_checksum(site, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA[:300_000])
    (tmp_path / "a.zip.part.json").write_text("{")
    get(site, tmp_path / "a.zip")
    (tmp_path / "b.zip.part").write_bytes(b"x" * 300_000)
    get(site, tmp_path / "b.zip", sha256=None)
    assert [one[0] for one in site.asked] == ["bytes=300000-", None]
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes() == DATA


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_file_of_unknown_size(site, tmp_path, tells_length):
    site.tells_length = tells_length
    get(site, tmp_path / "a.zip", size=None, sha256=None)
    arrived(tmp_path / "a.zip")
    if tells_length:
        site.drops = [100_000]
        get(site, tmp_path / "b.zip", size=None, sha256=None)
        assert (tmp_path / "b.zip").read_bytes() == DATA and site.asked[-1][0] == "bytes=100000-"


def test_a_file_that_is_there_is_checked_and_not_downloaded_again(site, tmp_path):
    (tmp_path / "a.zip").write_bytes(DATA)
    assert get(site, tmp_path / "a.zip") == [] and site.asked == []
    arrived(tmp_path / "a.zip")


def test_a_wrong_checksum_deletes_what_arrived(site, tmp_path):
    site.files["/a.zip"] = b"x" + DATA[1:]
    got = hashlib.sha256(site.files["/a.zip"]).hexdigest()
    text = refused(site, tmp_path / "a.zip", by_hand=tmp_path / "manual/a.zip")
    assert f"what arrived has the SHA-256 {got} instead of {SHA256} and was deleted" in text
    assert f"1000000 bytes, SHA-256 {SHA256}" in text and f"put it at {tmp_path}/manual/a.zip" in text
    assert list(tmp_path.iterdir()) == []


def test_more_than_was_promised(site, tmp_path):
    site.tells_length = False
    site.files["/a.zip"] = DATA * 3
    assert "more than the 1000000 bytes" in refused(site, tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_page_in_the_place_of_the_file_does_not_cost_the_part(site, tmp_path):
    leave_part(site, tmp_path / "a.zip", 400_000)
    site.files["/a.zip"], site.etag = b"<html>we have moved", '"two"'
    assert "offers 19 bytes instead of 1000000" in refused(site, tmp_path / "a.zip")
    site.files["/a.zip"], site.etag = DATA, '"one"'
    assert sum(get(site, tmp_path / "a.zip")) == 600_000


def test_a_missing_file_is_refused_at_once_and_a_busy_server_asked_again(site, tmp_path, capsys):
    site.codes = [503, 429]
    get(site, tmp_path / "a.zip")
    assert [one[2] for one in site.asked] == [503, 429, 200]
    assert "the server answers 503 (Service Unavailable)" in capsys.readouterr().err
    site.files.clear()
    text = refused(site, tmp_path / "b.zip", by_hand=Path("manual/a.zip"))
    assert "the server answers 404 (Not Found); get the file elsewhere" in text and text.endswith(
        f"(a copy from any mirror will do: 1000000 bytes, SHA-256 {SHA256}) and put it at manual/a.zip"
    )
    assert site.asked[-1][2] == 404 and len(site.asked) == 4


def test_an_unreachable_host_is_reported_at_once(tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        site = Site(url=f"http://localhost:{free.getsockname()[1]}/a.zip")
    assert "localhost refuses the connection; check the network" in refused(site, tmp_path / "a.zip")
    site = Site(url="http://no-such-host.invalid/a.zip")
    assert "the name no-such-host.invalid cannot be resolved; check" in refused(site, tmp_path / "a.zip")
    assert "cannot download http://: " in refused(Site(url="http://"), tmp_path / "a.zip")
    assert "trying again" not in capsys.readouterr().err


def test_a_server_that_goes_away_for_a_moment_is_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetching, "PAUSES", (0.2,) * 50)
    with serving() as before:
        before.drops, before.stall = [300_000], 0.3
        options = {"size": len(DATA), "sha256": SHA256}
        thread = threading.Thread(target=fetch, args=(before.url, tmp_path / "a.zip"), kwargs=options)
        thread.start()
        wait_for(tmp_path / "a.zip.part", 262_144)
    time.sleep(0.8)
    assert "localhost refuses the connection at 300 kB; trying again" in capsys.readouterr().err
    with serving(port=int(before.url.split(":")[2].split("/")[0])) as after:
        thread.join(20)
    arrived(tmp_path / "a.zip")
    assert [one[0] for one in before.asked + after.asked] == [None, "bytes=300000-"]


@pytest.mark.parametrize("room", [300_001, 999_999])
def test_a_full_disk_keeps_the_part(site, tmp_path, room):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        text = refused(site, tmp_path / "a.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the disk is full at" in text and "what arrived is kept" in text
    assert (tmp_path / "a.zip.part").stat().st_size == room
    get(site, tmp_path / "a.zip")
    arrived(tmp_path / "a.zip")
    assert site.asked[-1][0] == f"bytes={room}-"


def test_a_folder_that_cannot_be_written(site, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused(site, tmp_path / "file" / "a.zip")


def test_two_at_once_do_not_spoil_the_part(site, tmp_path):
    with open(tmp_path / "a.zip.part", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another process is downloading" in refused(site, tmp_path / "a.zip")
    get(site, tmp_path / "a.zip")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A self-signed certificate of localhost with its key."""
    if not shutil.which("openssl"):
        pytest.skip("the openssl program is not installed")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", *name]
    subprocess.run([*words, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_a_certificate_that_is_not_valid(certificate, tmp_path, capsys, monkeypatch):
    with serving(certificate) as site:
        text = refused(site, tmp_path / "a.zip", sha256=None)
        assert "the certificate of localhost is not valid (self-signed certificate) and no SHA-256 is known" in text
        assert site.asked == [] and capsys.readouterr().err == ""
        get(site, tmp_path / "a.zip")
        assert (tmp_path / "a.zip").read_bytes() == DATA
        said = "the certificate of localhost is not valid (self-signed certificate): downloading all the same"
        assert capsys.readouterr().err.startswith(said)
        site.files["/a.zip"] = b"x" + DATA[1:]
        assert "instead of" in refused(site, tmp_path / "b.zip")
        site.files["/a.zip"] = DATA
        capsys.readouterr()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
        get(site, tmp_path / "c.zip", sha256=None)
        assert (tmp_path / "c.zip").read_bytes() == DATA and capsys.readouterr().err == ""


FETCH = """
import sys
from pathlib import Path
from aoft_bench.data.tfds.fetch import fetch
fetch(sys.argv[1], Path(sys.argv[2]), size=1_000_000, sha256=sys.argv[3])
"""


def wait_for(part: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while not part.exists() or part.stat().st_size < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_process_is_continued_by_the_next(site, tmp_path):
    site.delay = 0.01
    process = subprocess.Popen([sys.executable, "-c", FETCH, site.url, tmp_path / "a.zip", SHA256])
    wait_for(tmp_path / "a.zip.part", 200_000)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    there = (tmp_path / "a.zip.part").stat().st_size
    assert 200_000 <= there < len(DATA) and not (tmp_path / "a.zip").exists()
    site.delay = 0.0
    subprocess.run([sys.executable, "-c", FETCH, site.url, tmp_path / "a.zip", SHA256], check=True)
    arrived(tmp_path / "a.zip")
    assert site.asked == [(None, None, 200), (f"bytes={there}-", '"one"', 206)]


# a downloader as TFDS uses it, without the seconds that TensorFlow takes
DOWNLOAD = """
import signal, sys
from pathlib import Path
from tensorflow_datasets.core.download.checksums import UrlInfo
from aoft_bench.data.tfds.download import ResumingDownloader
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
url, folder = sys.argv[1], Path(sys.argv[2])
known = {url: UrlInfo(size=1_000_000, checksum=sys.argv[3], filename="a.zip")}
(folder / "out").mkdir()
downloader = ResumingDownloader(folder / "parts", known, folder)
with downloader.tqdm():
    downloader.download(url, folder / "out").get()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_at_once_and_leaves_a_part(site, tmp_path, number, code):
    site.drops, site.stall = [300_000], 60.0
    command = [sys.executable, "-c", DOWNLOAD, site.url, tmp_path, SHA256]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(waited(tmp_path / "parts", "*.part")[0], 262_144)
        time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(40) == code  # the server is silent for longer
    (tmp_path / "out").rmdir()
    there = next((tmp_path / "parts").glob("*.part")).stat().st_size
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "out/a.zip").read_bytes() == DATA and list((tmp_path / "parts").iterdir()) == []
    assert site.asked[-1][0] == f"bytes={there}-"


def waited(folder: Path, pattern: str) -> list[Path]:
    deadline = time.monotonic() + 30
    while not (found := list(folder.glob(pattern))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_an_error_beside_a_download_stops_it(site, tmp_path):
    site.delay = 0.01
    (tmp_path / "out").mkdir()
    downloader = ResumingDownloader(tmp_path / "parts", {site.url: info()}, tmp_path)
    with pytest.raises(ZeroDivisionError), downloader.tqdm():
        downloader.download(site.url, tmp_path / "out")
        part = waited(tmp_path / "parts", "*.part")[0]
        wait_for(part, 100_000)
        1 / 0  # noqa: B018
    there = part.stat().st_size
    time.sleep(0.2)
    assert part.stat().st_size == there < len(DATA) and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_terminal_sees_a_bar(site, tmp_path):
    site.delay = 0.005
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", DOWNLOAD, site.url, tmp_path, SHA256]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # what Linux raises where nobody writes any more
            while piece := os.read(ours, 4096):
                seen += piece
        assert process.wait() == 0
    os.close(ours)
    assert b"a.zip" in seen and b"/1.0 MB" in seen and b"MB/s" in seen and b"downloading" not in seen


def info(**changes):
    checksums = pytest.importorskip("tensorflow_datasets.core.download.checksums")
    return checksums.UrlInfo(**({"size": len(DATA), "checksum": SHA256, "filename": "a.zip"} | changes))


def test_a_log_gets_a_few_lines(site, tmp_path, capsys, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(transfer_progress, "INTERVAL", 0.05)
    site.delay = 0.002
    downloader = ResumingDownloader(tmp_path / "parts", {site.url: info()}, tmp_path)
    with downloader.tqdm():
        result = downloader.download(site.url, tmp_path / "out").get()
    assert result.path == tmp_path / "out/a.zip" and result.url_info == info()
    first, *between, last = capsys.readouterr().err.splitlines()
    assert first == "downloading a.zip, 1.0 MB from localhost" and last.startswith("downloaded a.zip: 1.0 MB, ")
    assert 1 <= len(between) <= 20
    assert all(line.startswith("a.zip: ") and "% of 1.0 MB, " in line and "B/s" in line for line in between)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (12_345, "12.3 kB"), (160_900_000, "161 MB"), (39_077_296_924, "39.1 GB")],
)
def test_amounts(count, text):
    assert transfer_progress.amount(count) == text


def test_too_little_disk_is_refused_before_the_download(site, tmp_path, monkeypatch):
    b = site.url.replace("a.zip", "b.zip")
    known = {site.url: info(), b: info(filename="b.zip")}
    downloader = ResumingDownloader(tmp_path / "parts", known, tmp_path)
    name = hashlib.sha256(site.url.encode()).hexdigest()[:16] + "-a.zip.part"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=600_000))
    (tmp_path / "out").mkdir()
    says = r"a.zip: 1.0 MB are needed for it, 600 kB are free in .*parts; free some"
    with pytest.raises(UserError, match=says), downloader.tqdm():
        downloader.download(site.url, tmp_path / "out")
    assert site.asked == [] and not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "parts" / name).write_bytes(DATA[:500_000])
    with downloader.tqdm():
        downloader.download(site.url, tmp_path / "out").get()
    assert site.asked[0][0] == "bytes=500000-"
    site.delay = 0.01
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1_900_000))
    says = r"b.zip: 2.0 MB are needed for it and the 1 before it, 1.9 MB are free"
    with pytest.raises(UserError, match=says), downloader.tqdm():
        downloader.download(site.url, tmp_path / "out")
        downloader.download(b, tmp_path / "out")


def manager(folder: Path, **options):
    """TFDS's own DownloadManager."""
    download_manager = pytest.importorskip("tensorflow_datasets.core.download.download_manager")
    return download_manager.DownloadManager(download_dir=folder / "downloads", manual_dir=folder / "manual", **options)


def test_tfds_downloads_with_it(site, tmp_path):
    b = site.url.replace("a.zip", "b.bin")
    site.files["/b.bin"] = b"seven"
    small = info(size=5, checksum=hashlib.sha256(b"seven").hexdigest(), filename="b.bin")
    known = {site.url: info(), b: small}
    with install(tmp_path / "parts", known, tmp_path / "manual"):
        found = manager(tmp_path, url_infos=known).download({"a": site.url, "b": b})
        assert found["a"].read_bytes() == DATA and found["b"].read_bytes() == b"seven"
        assert found["a"].parent == tmp_path / "downloads"
        assert manager(tmp_path, url_infos=known).download(site.url) == found["a"] and len(site.asked) == 2
    assert list((tmp_path / "parts").iterdir()) == [] and not list((tmp_path / "downloads").glob("*.tmp.*"))


def test_an_error_reaches_the_caller_of_tfds_as_it_is(site, tmp_path):
    known = {site.url: info(checksum="0" * 64)}
    with install(tmp_path / "parts", known, tmp_path / "manual"):
        with pytest.raises(UserError, match=r"instead of 0{64} and was deleted; .* put it at .*/manual/a\.zip$"):
            manager(tmp_path, url_infos=known).download([site.url])
        (tmp_path / "manual").mkdir()
        (tmp_path / "manual/a.zip").write_bytes(DATA)
        known[site.url] = info()
        found = manager(tmp_path, url_infos=known).download(site.url)
    assert found.read_bytes() == DATA and len(site.asked) == 1
    assert not list((tmp_path / "downloads").glob("*.tmp.*"))


def test_tfds_is_left_as_it_was_and_asked_for_what_is_replaced(tmp_path, monkeypatch):
    download_manager = pytest.importorskip("tensorflow_datasets.core.download.download_manager")
    original = download_manager.get_downloader
    with pytest.raises(ZeroDivisionError), install(tmp_path, {}, tmp_path):
        assert download_manager.get_downloader is not original
        1 / 0  # noqa: B018
    assert download_manager.get_downloader is original
    monkeypatch.delattr(download_manager, "get_downloader")
    says = r"tensorflow_datasets .* has no download_manager.get_downloader"
    with pytest.raises(UserError, match=says), install(tmp_path, {}, tmp_path):
        pass


def test_tfds_extracts_what_it_brings_and_copies_local_files_itself(site, tmp_path):
    pytest.importorskip("tensorflow")
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        archive.writestr("folder/name.txt", "inside")
    site.files["/a.zip"] = (tmp_path / "new.zip").read_bytes()
    packed = info(size=len(site.files["/a.zip"]), checksum=hashlib.sha256(site.files["/a.zip"]).hexdigest())
    (tmp_path / "local.txt").write_text("here")
    with install(tmp_path / "parts", {site.url: packed}, tmp_path / "manual"):
        tfds = manager(tmp_path, url_infos={site.url: packed})
        assert (tfds.download_and_extract(site.url) / "folder/name.txt").read_text() == "inside"
        assert tfds.download(str(tmp_path / "local.txt")).read_text() == "here"
