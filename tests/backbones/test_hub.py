"""Weights from the hub: a server on this machine answers like it, and in every wrong way that users meet."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from conftest import Command, words
from hub_server import COMMIT, FakeHub, hub_of_this_process
from huggingface_hub import constants
from networks import timm
from safetensors.torch import save

from aoft_bench.backbones.weights import check_weights, weight_file, weights_here
from aoft_bench.config.schema import BackboneOptions
from aoft_bench.utils import hub
from aoft_bench.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
MODEL = "vit_tiny_patch16_224.augreg_in21k"
OPTIONS = BackboneOptions(name="own", timm=MODEL, checkpoint=None, img_size=32)
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with one file, which this process asks, and whose cache is empty."""
    with hub_of_this_process(monkeypatch, tmp_path) as server:
        server.files[f"timm/{MODEL}", "model.safetensors"] = CONTENT
        yield server


def blobs(tmp_path: Path) -> list[Path]:
    """What the cache holds of files, whole or not."""
    return [path for path in tmp_path.glob("hub/models--*/**/*") if path.parent.name in ("blobs", COMMIT)]


def test_weights_are_downloaded_once_checked_and_then_found_without_the_hub(server, tmp_path, capsys):
    assert weights_here(OPTIONS) is None
    check_weights(OPTIONS)
    assert not blobs(tmp_path) and {method for method, *_ in server.requests} == {"HEAD"}
    path = weight_file(OPTIONS)
    assert path.read_bytes() == CONTENT and path.resolve().name == hashlib.sha256(CONTENT).hexdigest()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"fetching the weights of {MODEL} (0 MB) from {server.address}"
    assert said[-1].startswith("fetched 0 of 0 MB") and len(said) == 2
    asked = len(server.requests)
    assert weight_file(OPTIONS) == weights_here(OPTIONS) == path
    check_weights(OPTIONS)
    assert len(server.requests) == asked and not capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong, expected",
    [
        ("no repository", r"has no timm/vit_tiny\S+ \(404\); unset HF_ENDPOINT"),
        ("not found", r"has no timm/vit_tiny\S+ \(404\); unset HF_ENDPOINT"),
        ("no file", r"has timm/vit_tiny\S+, but no file model\.safetensors in it \(404\)"),
        ("who are you", r"has no public timm/vit_tiny\S+ \(401\); .*`hf auth login`, or set HF_TOKEN"),
        ("gated", r"to who accepted their terms \(403\); accept them at http\S+ and log in"),
        ("gated, no token", r"to who accepted their terms \(401\); accept them at http\S+ and log in"),
        ("forbidden", r"or a firewall before it, forbids timm/vit_tiny\S+ \(403\)"),
        ("too many", r"too many requests from your address \(429\); run again after 55 s"),
        ("too many, plain", r"too many requests from your address \(429\); run again after 7 s"),
        ("teapot", r"answered 418: "),
        ("fault", r"has a fault of its own \(500\); run again later"),
        ("error later", r"has a fault of its own \(503\); run again later"),
        ("portal", r"is not the hub's but that of a log-in page .* log in and run again"),
        ("portal elsewhere", r"is not the hub's but that of a log-in page .* log in and run again"),
        ("hang", r"does not answer \(ReadTimeout\); .*HF_HUB_ETAG_TIMEOUT"),
        ("short", r"sent another number of bytes than it announced; run again"),
    ],
)
def test_each_failure_says_what_it_is_and_leaves_nothing(wrong, expected, server, tmp_path):
    server.wrong = wrong
    with pytest.raises(UserError) as failure:
        weight_file(OPTIONS)
    text = str(failure.value)
    assert "\n" not in text
    assert re.search(expected, text), text
    assert text.startswith(f"the weights of {MODEL} are not here and ")
    assert text.endswith(
        "give backbone.checkpoint=FILE (docs/weights.md); without a download: backbone=vit_nano dataset=digits"
    )
    assert not blobs(tmp_path)


def test_a_token_that_the_hub_refuses_is_named(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    server.wrong = "who are you"
    with pytest.raises(UserError, match=r"does not accept your token for timm/vit_tiny\S+ \(401\); log in"):
        weight_file(OPTIONS)


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}", "cannot be reached ("),
        ("HUGGINGFACE_CO_URL_TEMPLATE", "hub.local/{repo_id}/{revision}/{filename}", "is no address"),
        ("HF_HUB_OFFLINE", True, "HF_HUB_OFFLINE is set, so the hub is not asked; unset it"),
    ],
)
def test_a_hub_that_is_not_asked_or_not_found_is_named(name, value, expected, server, monkeypatch):
    monkeypatch.setattr(constants, name, value)
    with pytest.raises(UserError, match=re.escape(expected)):
        weight_file(OPTIONS)


def test_a_download_that_hangs_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the tries of huggingface_hub
    server.wrong = "hang later"
    with pytest.raises(UserError, match=r"does not answer \(ReadTimeout\); .*HF_HUB_DOWNLOAD_TIMEOUT"):
        weight_file(OPTIONS)
    assert [path for path in blobs(tmp_path) if path.is_file()] == []


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_named(server, monkeypatch):
    for error, expected in (
        (OSError(28, "No space left on device"), "the disk is full; free some space in .*hub, or .* HF_HOME"),
        (PermissionError(13, "Permission denied"), "cache .*hub refused them: Permission denied; .* HF_HOME"),
        (ValueError("a surprise\nmore"), r"cannot be fetched \(ValueError: a surprise\)"),
    ):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        with pytest.raises(UserError, match=expected):
            weight_file(OPTIONS)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server):
    server.wrong = "cut"
    assert weight_file(OPTIONS).read_bytes() == CONTENT
    starts = [first for method, path, first in server.requests if path.startswith("/bytes/")]
    assert starts[0] == 0 and starts[1] == len(CONTENT) // 2 // 1000 * 1000


def test_what_comes_with_another_sha256_is_not_kept(server, tmp_path):
    server.wrong = "changed"
    with pytest.raises(UserError, match="came with another SHA-256 than the hub announced, .*nothing was kept"):
        weight_file(OPTIONS)
    assert not blobs(tmp_path)
    server.wrong = ""
    assert weight_file(OPTIONS).read_bytes() == CONTENT


def test_a_damaged_file_of_the_cache_is_fetched_again(server, capsys):
    path = weight_file(OPTIONS)
    path.resolve().write_bytes(CONTENT[:-1])
    capsys.readouterr()
    assert weights_here(OPTIONS) is None
    server.wrong = "fault"
    with pytest.raises(UserError, match=f"^intact weights of {re.escape(MODEL)} are not here and .* fault of its own"):
        weight_file(OPTIONS)
    server.wrong = ""
    assert weight_file(OPTIONS) == path and path.read_bytes() == CONTENT
    assert f"{path} is damaged: its SHA-256 is not" in capsys.readouterr().err


def test_a_long_download_leaves_lines_in_a_log(server, monkeypatch, capsys):
    monkeypatch.setattr(hub, "DOWNLOAD_LOG_EVERY", 0)
    weight_file(OPTIONS)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fetched")]
    assert len(lines) > 5 and all(re.fullmatch(r"fetched 0 of 0 MB(, [\d.]+ MB/s)?", line) for line in lines)


def test_missing_data_are_said_before_weights_are_fetched(server, cli: Command, nano, tmp_path):
    options = nano | {
        "backbone": "vit_ti16_augreg_in21k",
        "dataset": "folder",
        "data.root": "nothing",
        "method": "aoft",
    }
    result = cli(*words(options))
    assert result.code == 2 and "nothing" in result.err and MODEL not in result.err
    assert {method for method, *_ in server.requests} == {"HEAD"} and not blobs(tmp_path)


def test_a_model_without_weights_at_the_hub_is_refused():
    options = BackboneOptions(name="own", timm="gcvit_base.in1k", checkpoint=None, img_size=224)
    with pytest.raises(UserError, match=r"gcvit_base\.in1k has no weights at the Hugging Face hub; .*checkpoint"):
        weight_file(options)


@pytest.fixture
def run_options(server: FakeHub, nano: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A short run with a ViT-Ti, whose random weights are at the hub."""
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    server.files[f"timm/{MODEL}", "model.safetensors"] = save(network.state_dict())
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000**2)
    model = {"backbone": "vit_ti16_augreg_in21k", "backbone.img_size": "16", "method": "linear"}
    return words(nano | model | {"dataset": "digits"})


@pytest.mark.slow
def test_a_run_downloads_once_and_starts_again_without_the_hub(server, run_options, cli: Command, tmp_path):
    server.wrong = "cut"
    first = cli(*run_options)
    assert first.code == 0 and "test top-1" in first.out, first.err
    assert f"fetching the weights of {MODEL} (22 MB) from {server.address}\n" in first.err
    assert "fetched 22 of 22 MB" in first.err
    assert max(start for *_, start in server.requests) == 11 * 1000**2  # it went on where the connection broke
    server.wrong = "fault"
    asked = len(server.requests)
    again = cli(*run_options)
    assert again.code == 0 and "(done before)" in again.out and len(server.requests) == asked
    (path,) = (path for path in blobs(tmp_path) if path.parent.name == "blobs")
    path.write_bytes(path.read_bytes()[:-1])
    refused = cli(*run_options)
    assert refused.code == 2 and f"intact weights of {MODEL} are not here" in refused.err
    server.wrong = ""
    mended = cli(*run_options)
    assert mended.code == 0 and "(done before)" in mended.out and "is damaged" in mended.err


@pytest.mark.slow
def test_ctrl_c_in_a_download_keeps_nothing_and_says_so(server, run_options, tmp_path):
    server.wrong = "slow"
    environment = {**os.environ, "HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "aoft_bench", *run_options]
    run = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not any(path.startswith("/bytes/") for _, path, _ in server.requests):
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    out = run.communicate()[0]
    assert run.returncode == 130, out
    assert f"the download of the weights of {MODEL} was stopped; it starts from the beginning" in out
    assert "Traceback" not in out and not [path for path in blobs(tmp_path) if path.is_file()]
