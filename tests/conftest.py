"""What several test modules share: the option --method, the command line in this process, the embedded network."""

import contextlib
import gc
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from wrong_inputs import World

pytest.register_assert_rewrite("wrong_inputs")
os.environ["OMP_NUM_THREADS"] = "1"  # tests run beside each other; one thread each is the fastest
os.environ["WANDB_MODE"] = "offline"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

# the same examples every time, and no limit of seconds, since the machine may be busy
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=100,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--method", metavar="NAME", help="run only the tests that concern one method, such as lora")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a --method that is not registered."""
    gc.disable()  # until `pytest_collection_finish`: nearly all that imports and collecting make stays
    if name := config.getoption("--method"):
        from aoft_bench import methods
        from aoft_bench.utils.errors import UserError

        try:
            methods.get(name)
        except UserError as error:
            pytest.exit(str(error), returncode=2)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --method, leave files unread in which no test can have a parameter of that name."""
    name = config.getoption("--method")
    if not name or not collection_path.match("test_*.py") or collection_path.name == f"test_{name}.py":
        return None
    has_parameter = re.search(r"def test_\w+\([^)]*\bmethod\b", collection_path.read_text(encoding="utf-8"))
    return None if has_parameter else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --method NAME, keep tests whose parameter `method` is NAME, and those of tests/methods/test_NAME.py.

    Those that take long are left out, unless -m says which to run.
    """
    name = config.getoption("--method")
    if not name:
        return
    left_out = set() if config.getoption("-m") else {"slow", "data", "browser", "cluster"}
    kept = [
        item
        for item in items
        if (item.path.name == f"test_{name}.py" or method_of(item) == name)
        and left_out.isdisjoint(mark.name for mark in item.iter_markers())
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave the million objects that are there by now out of every later garbage collection."""
    gc.collect()
    gc.freeze()
    gc.enable()


def method_of(item: pytest.Item) -> Any:
    """The name of the method that a test's parameter `method` gives: as text, or as a case with a name or a method."""
    value = getattr(getattr(item, "callspec", None), "params", {}).get("method")
    for attribute in ("name", "method"):
        value = getattr(value, attribute, value)
    return value


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


def call(*words: str, cwd: Path) -> Result:
    """Run `aoft-bench *words` in this process, in the folder `cwd`, and catch what it prints."""
    from hydra.core.global_hydra import GlobalHydra

    from aoft_bench.cli import main

    GlobalHydra.instance().clear()
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(cwd)
        patch.setenv("HYDRA_FULL_ERROR", "1")
        try:
            code = main(words)
        except SystemExit as stopped:  # argparse
            code = int(stopped.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


@pytest.fixture
def cli(tmp_path: Path) -> Command:
    """`call` in the test's own folder."""
    return lambda *words, cwd=tmp_path: call(*words, cwd=cwd)


@pytest.fixture(scope="session")
def nano_weights() -> Path:
    """The embedded weights."""
    from aoft_bench.backbones.weights import NANO_WEIGHTS

    return NANO_WEIGHTS


@pytest.fixture(scope="session")
def nano() -> dict[str, str]:
    """Options of a cell that takes seconds: vit_nano in fp32 on one CPU thread, one epoch, no logger."""
    return {
        "backbone": "vit_nano",
        "trainer": "cpu",
        "trainer.threads": "1",
        "trainer.progress": "none",
        "logger": "none",
        "recipe.epochs": "1",
    }


@pytest.fixture(scope="session")
def nano_pack(tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> dict[str, str]:
    """`nano` on a folder pack of 24 + 8 + 20 images of 32 x 32, which tests leave as it is."""
    from packs import make_pack

    root = tmp_path_factory.mktemp("nano_pack")
    make_pack(root / "pack", sizes={"train800": 24, "val200": 8, "test": 20}, shape=(32, 32))
    return nano | {"dataset": "folder", "data.root": str(root / "pack"), "data.cache": str(root / "cache")}


def words(options: dict[str, str], **more: str) -> list[str]:
    """name=value words of options; `more` holds names with __ for the dot, and wins."""
    return [f"{k}={v}" for k, v in (options | {k.replace("__", "."): v for k, v in more.items()}).items()]


@pytest.fixture(scope="session")
def true_record(tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> Path:
    """The record of a true cell, for the tests of wrong inputs."""
    from packs import make_pack

    root = tmp_path_factory.mktemp("trained")
    make_pack(root / "pack")
    places = {"data.root": root / "pack", "data.cache": root / "cache", "results.root": root / "results"}
    options = nano | {"dataset": "folder", "method": "linear"} | {k: str(v) for k, v in places.items()}
    done = call(*words(options), cwd=root)
    assert done.code == 0, done.err
    (record,) = (root / "results").rglob("*.json")
    return record


@pytest.fixture
def world(
    tmp_path: Path, nano: dict[str, str], monkeypatch: pytest.MonkeyPatch, true_record: Path
) -> "Iterator[World]":
    """What a case of wrong input starts from."""
    from wrong_inputs import World

    monkeypatch.delenv("AOFT_BENCH_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # as if it were not installed
    yield World(tmp_path, nano, monkeypatch, true_record)
    for name in ("results", "cache", "outputs"):
        if os.path.ismount(tmp_path / name):
            subprocess.run(["umount", str(tmp_path / name)], check=True)
