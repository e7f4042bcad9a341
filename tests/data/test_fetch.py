"""`aoft-bench prepare fetch=public`: the public pack and json files, from a server that answers like the hub."""

import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Command
from hub_server import FakeHub, hub_of_this_process
from packs import make_json_set, make_pack

from aoft_bench.data import task
from aoft_bench.data.packs.fetch import fetch
from aoft_bench.data.sources.fgvc import read_set
from aoft_bench.utils.errors import UserError

ARCHIVES = (("XiN0919/VTAB-1k", "vtab-1k.zip"), ("XiN0919/FGVC", "json.zip"))
Hub = Callable[[dict[str, Path]], FakeHub]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serves a zip file with these folders under these names as both archives of the hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AOFT_BENCH_DATA", raising=False)
    with hub_of_this_process(monkeypatch, tmp_path) as server:

        def serve(folders: dict[str, Path]) -> FakeHub:
            with zipfile.ZipFile(archive := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as content:
                for name, folder in folders.items():
                    for path in sorted(folder.rglob("*")):
                        content.write(path, f"{name}/{path.relative_to(folder)}")
            for repository, file in ARCHIVES:
                server.files[repository, file] = archive.getvalue()
            return server

        yield serve


def downloads(server: FakeHub) -> list[str]:
    return [path for method, path, _ in server.requests if method == "GET" and path.startswith("/bytes/")]


def test_the_pack_of_a_task_is_unpacked_once_and_prepared(hub: Hub, tmp_path: Path, cli: Command) -> None:
    server = hub({"vtab-1k/cifar": make_pack(tmp_path / "a"), "vtab-1k/dtd": make_pack(tmp_path / "b")})
    for _ in range(2):
        done = cli("prepare", "dataset=cifar100", "fetch=public", "data.cache=cache", "backbone=vit_nano")
        assert done.code == 0, done.err
        assert "15 images (12 x 12 x 3)" in done.out and "folder pack cifar" in done.out
    assert downloads(server) == ["/bytes/XiN0919/VTAB-1k/vtab-1k.zip"]
    assert "/datasets/XiN0919/VTAB-1k/resolve/main/vtab-1k.zip" in {path for _, path, _ in server.requests}
    assert sorted(path.name for path in (tmp_path / "data/packs").iterdir()) == ["cifar"]


def test_json_files_go_beside_the_images(hub: Hub, tmp_path: Path) -> None:
    whole = make_json_set(tmp_path / "whole")
    server = hub({"json/cub_200_2011": whole})
    images = tmp_path / "data/packs/CUB_200_2011"
    with pytest.raises(UserError, match=r"its images are not here; unpack .* as data/packs/CUB_200_2011"):
        fetch(task("cub"))
    images.mkdir(parents=True)
    (whole / "images").rename(images / "images")
    assert fetch(task("cub")) == Path("data/packs/CUB_200_2011") and len(downloads(server)) == 1
    assert sorted(path.name for path in images.iterdir()) == ["images", "test.json", "train.json", "val.json"]
    assert read_set(task("cub"), images).sizes == {"train800": 6, "val200": 3, "test": 6}


def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(hub: Hub, tmp_path: Path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(UserError) as raised:
            fetch(task(name))
        assert "\n" not in str(raised.value) and not (tmp_path / "data/packs").exists()
        return str(raised.value)

    server = hub({"vtab-1k/dtd": make_pack(tmp_path / "a")})
    assert "has no folder cifar or cifar100 with train800.txt, val200.txt, test.txt; those in it: dtd" in refused(
        "cifar100"
    )
    assert "there is no public pack of digits; allowed: the tasks of vtab1k and fgvc" in refused("digits")
    (cached,) = tmp_path.glob("hub/datasets--*/blobs/*")
    content = bytearray(cached.read_bytes())
    with zipfile.ZipFile(cached) as archive:
        last = max(archive.infolist(), key=lambda one: one.header_offset)
    start = last.header_offset + 30 + len(last.filename)
    content[start : start + last.compress_size] = b"\xff" * last.compress_size
    for damaged in (b"half of it", content):
        cached.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{cached} is no whole zip file .*; delete it and run again"):
            fetch(task("dtd"))
        assert not list(tmp_path.glob("data/packs/*"))
    cached.unlink()  # as the line says
    assert fetch(task("dtd")) == Path("data/packs/dtd")
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(tmp_path / "hub")
    server.wrong = "gated"
    assert f"accept them at {server.address}/datasets/XiN0919/VTAB-1k and log in" in refused("svhn")
    server.wrong = "fault"
    line = refused("svhn")
    assert "the files of vtab-1k.zip are not here and" in line and "has a fault of its own (500)" in line
    assert "download vtab-1k.zip (4.7 GB) of the dataset XiN0919/VTAB-1k by hand, and put" in line
    assert "the folder with train800.txt" in line
    assert "here as data/packs/svhn" in line
