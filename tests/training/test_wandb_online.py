"""W&B online and `wandb sync`, against a stand-in for its server: what arrives, and that nothing waits for it long."""

import dataclasses
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_config import config_of
from wandb_files import offline_folders, read_run
from wandb_server import Server, Stored, serving

from aoft_bench.config.schema import RunConfig
from aoft_bench.training import wandb as wandb_mirror
from aoft_bench.training.wandb import Mirror

DIGEST = "0123456789"
ID = f"aoft-cifar100-vit_b16_in21k-seed0-{DIGEST}"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A made-up key, no proxy, nothing of this machine's W&B, and W&B's own process ended after each test."""
    import wandb  # here: it takes seconds, also where none of these tests run

    for name in [name for name in os.environ if name.startswith("WANDB_") or "proxy" in name.lower()]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    import wandb

    with serving() as one:
        monkeypatch.setenv("WANDB_BASE_URL", one.url)
        yield one
        one.closing.set()  # let go of what hangs, before W&B's process is waited for
        wandb.teardown()


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """The default configuration, whose W&B runs are kept in out/; online, since there is a key."""
    plain = config_of()
    return dataclasses.replace(plain, logger=dataclasses.replace(plain.logger, name="wandb", dir=str(tmp_path / "out")))


def offline(config: RunConfig) -> RunConfig:
    return dataclasses.replace(config, logger=dataclasses.replace(config.logger, mode="offline"))


def mirror(config: RunConfig) -> Mirror:
    return Mirror(config, label="a cell", digest=DIGEST, official=True)


def train(config: RunConfig, start: int, stop: int, *, end: int | None = None) -> None:
    """What a run logs that has `start` epochs behind it and ends after `stop`, of `end` where it is stopped there."""
    curves = {
        "train_loss": [float(n) for n in range(1, start + 1)],
        "val200_top1": [10.0 * n for n in range(1, start + 1)],
    }
    try:
        with mirror(config) as one:
            assert one.logger is not None
            one.logger.replay(curves if start else {"train_loss": []})
            for epoch in range(start, stop):  # Lightning counts from 0, and logs the two of an epoch apart
                one.logger.log_metrics({"val200/top1": 10.0 * (epoch + 1), "epoch": epoch}, step=10 * epoch)
                one.logger.log_metrics({"train/loss": epoch + 1.0, "epoch": epoch}, step=10 * epoch)
            if end is not None:
                raise SystemExit(143)
            metrics = {"split": "val200", "top1": 77.0}
            one.summarize({"metrics": metrics, "parameters": {"trained": 5}, "cost": {"train_seconds": 1.5}})
    except SystemExit:
        assert end is not None


def assert_whole(stored: Stored, epochs: int) -> None:
    """Each epoch once, in order, and the result in the summary."""
    rows = [{k: v for k, v in row.items() if k[0] != "_" or k == "_step"} for row in stored.rows]
    assert rows == [
        {"_step": n, "epoch": n, "train/loss": float(n), "val200/top1": 10.0 * n} for n in range(1, epochs + 1)
    ]
    result = {"val200/top1": 77, "parameters/trained": 5, "cost/train_seconds": 1.5, "epoch": epochs}
    assert result.items() <= stored.summary.items()
    assert stored.exit_code == 0


def test_an_online_run_arrives(server: Server, config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    train(config, 0, 3)
    assert "aoft_bench" not in capsys.readouterr().err
    (stored,) = server.runs.values()
    assert_whole(stored, 3)
    first = stored.upserts[0]
    assert (first["name"], first["displayName"], first["project"]) == (ID, "a cell", "aoft_bench")
    assert (first["groupName"], first["jobType"]) == ("vit_b16_in21k/aoft/cifar100", "clean")
    assert first["tags"] == ["vit_b16_in21k", "clean", "official split"]


def test_an_online_run_that_goes_on_continues(server: Server, config: RunConfig) -> None:
    train(config, 0, 3, end=5)
    assert server.runs[ID].exit_code == 1 and len(server.runs[ID].rows) == 3
    train(config, 2, 5)  # the checkpoint of the third epoch was not written any more
    assert "RunResumeStatus" in server.queries
    assert list(server.runs) == [ID]
    assert_whole(server.runs[ID], 5)


def sync(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", str(folder)], cwd=folder.parent, capture_output=True, text=True
    )
    assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr


@pytest.mark.parametrize("between", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sync_makes_one_run_of_several_starts(server: Server, config: RunConfig, tmp_path: Path, between: bool) -> None:
    """between: the first start is uploaded before the second one begins."""
    train(offline(config), 0, 2, end=5)
    if between:
        sync(tmp_path / "out/wandb")
        assert len(server.runs[ID].rows) == 2
    train(offline(config), 2, 5)
    sync(tmp_path / "out/wandb")
    assert list(server.runs) == [ID]
    assert_whole(server.runs[ID], 5)


def test_without_a_network_it_goes_offline_at_once(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:  # a port that is bound but does not listen refuses
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        train(config, 0, 2)
        train(config, 0, 3)
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"aoft_bench: W&B is offline \(http://127.0.0.1:\d+ does not answer: ConnectionError\); "
        rf"runs are kept in {tmp_path}/out for `wandb sync`\n",
        said,
    )
    (folder,) = offline_folders(tmp_path / "out")
    assert [row["epoch"] for row in read_run(folder).rows] == [1, 2, 3]


def test_a_server_that_hangs_at_the_start_is_left(
    server: Server,
    config: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(wandb_mirror, "TIMEOUT", 1)
    server.hanging.set()
    train(config, 0, 2)
    assert "aoft_bench: W&B is offline (" in capsys.readouterr().err
    server.closing.set()
    (folder,) = offline_folders(tmp_path / "out")
    assert len(read_run(folder).rows) == 2


@pytest.mark.slow
def test_a_server_that_hangs_at_the_end_is_not_waited_for(
    server: Server, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_mirror, "TIMEOUT", 1)
    late = threading.Timer(60, server.closing.set)  # so that this test ends where a run does not
    late.start()
    with mirror(config) as one:
        assert one.logger is not None
        one.logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=1)
        server.hanging.set()
    assert not server.closing.is_set()
    late.cancel()
