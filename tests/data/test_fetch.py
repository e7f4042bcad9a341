"""`aoft-bench prepare fetch=public`: the public pack and json files, from an archive that stands in for the hub's."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from conftest import Command
from packs import make_json_set, make_pack

from aoft_bench.data import task
from aoft_bench.data.packs.fetch import fetch
from aoft_bench.data.sources.fgvc import read_set
from aoft_bench.utils.errors import UserError

Hub = Callable[[dict[str, Path]], list[str]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Serves a zip file with these folders under these names; returns the list of what was asked for."""

    def serve(folders: dict[str, Path]) -> list[str]:
        archive, asked = tmp_path / "archive.zip", []
        with zipfile.ZipFile(archive, "w") as content:
            for name, folder in folders.items():
                for path in sorted(folder.rglob("*")):
                    content.write(path, f"{name}/{path.relative_to(folder)}")

        def download(repository: str, file: str, repo_type: str) -> str:
            asked.append(f"{repo_type} {repository} {file}")
            return str(archive)

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: None)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        return asked

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AOFT_BENCH_DATA", raising=False)
    return serve


def test_the_pack_of_a_task_is_unpacked_once_and_prepared(hub: Hub, tmp_path: Path, cli: Command) -> None:
    asked = hub({"vtab-1k/cifar": make_pack(tmp_path / "a"), "vtab-1k/dtd": make_pack(tmp_path / "b")})
    for _ in range(2):
        done = cli("prepare", "dataset=cifar100", "fetch=public", "data.cache=cache", "backbone=vit_nano")
        assert done.code == 0, done.err
        assert "15 images (12 x 12 x 3)" in done.out and "folder pack cifar" in done.out
    assert asked == ["dataset XiN0919/VTAB-1k vtab-1k.zip"]
    assert sorted(path.name for path in (tmp_path / "data/packs").iterdir()) == ["cifar"]


def test_json_files_go_beside_the_images(hub: Hub, tmp_path: Path) -> None:
    whole = make_json_set(tmp_path / "whole")
    asked = hub({"json/cub_200_2011": whole})
    images = tmp_path / "data/packs/CUB_200_2011"
    with pytest.raises(UserError, match=r"its images are not here; unpack .* as data/packs/CUB_200_2011"):
        fetch(task("cub"))
    images.mkdir(parents=True)
    (whole / "images").rename(images / "images")
    assert fetch(task("cub")) == Path("data/packs/CUB_200_2011") and len(asked) == 1
    assert sorted(path.name for path in images.iterdir()) == ["images", "test.json", "train.json", "val.json"]
    assert read_set(task("cub"), images).sizes == {"train800": 6, "val200": 3, "test": 6}


def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str) -> str:
        with pytest.raises(UserError) as raised:
            fetch(task(name))
        assert "\n" not in str(raised.value) and not (tmp_path / "data/packs").exists()
        return str(raised.value)

    hub({"vtab-1k/dtd": make_pack(tmp_path / "a")})
    assert "has no folder cifar or cifar100 with train800.txt, val200.txt, test.txt; those in it: dtd" in refused(
        "cifar100"
    )
    assert "there is no public pack of digits; allowed: the tasks of vtab1k and fgvc" in refused("digits")
    (tmp_path / "archive.zip").write_bytes(b"half of it")
    assert "archive.zip is no whole zip file" in refused("cifar100")

    def no_network(url: str, timeout: float) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", no_network)
    line = refused("svhn")
    assert "cannot fetch vtab-1k.zip (4.7 GB) of the dataset XiN0919/VTAB-1k" in line and "(ConnectionError)" in line
    assert "download it by hand, and put the folder with train800.txt" in line and "here as data/packs/svhn" in line
