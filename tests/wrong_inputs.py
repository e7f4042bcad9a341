"""Mistakes of a user: one line says what was wrong, given and allowed; exit code 2; no file is left half-written.

The cases are in tests/cli/test_wrong_*.py. Each file has its own `Cases`, and the fixture `world` that they start from.
"""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, Result, words
from packs import make_pack

from aoft_bench import data
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import PreparedTask, prepare
from aoft_bench.records.files import predictions_path

ROOT = Path(__file__).resolve().parents[1]


class World:
    """What a case starts from: a folder, a valid pack, and the options of a cell that would run on it."""

    def __init__(self, root: Path, nano: dict[str, str], patch: pytest.MonkeyPatch, record: Path) -> None:
        self.root, self.patch, self.trained = root, patch, record
        self.pack = make_pack(root / "pack")
        self.options = nano | {
            "dataset": "folder",
            "method": "linear",
            "data.root": "pack",
            "data.cache": "cache",
            "results.root": "results",
        }

    def prepared(self) -> PreparedTask:
        """The pack's cache, made."""
        return prepare(data.task("folder"), Locations(self.root / "cache", self.pack), image_size=32)

    def record(self) -> Path:
        """A copy of a true record and its parameters, to be damaged."""
        folder = self.root / "kept" / "records"
        folder.mkdir(parents=True)
        for path in (self.trained, self.trained.with_suffix(".safetensors"), predictions_path(self.trained)):
            shutil.copy(path, folder)
        return folder / self.trained.name

    def weights(self) -> Path:
        """A copy of the network's weights, to be damaged."""
        from aoft_bench.backbones.weights import NANO_WEIGHTS

        given = self.options.get("backbone.checkpoint", str(NANO_WEIGHTS))
        return Path(shutil.copy(given, self.root / "mine.safetensors"))


Case = Callable[[World], list[str]]


class Cases(list[tuple[str, str, Case, tuple[str, ...]]]):
    """The cases of a file: a name, a command, what makes its arguments, and texts that the error has."""

    def case(self, name: str, *expected: str, command: str = "run") -> Callable[[Case], Case]:
        """Add a case whose arguments come from a function, which may break something first."""

        def add(make: Case) -> Case:
            self.append((name, command, make, expected))
            return make

        return add

    def wrong(self, name: str, line: str, *expected: str) -> None:
        """Add a case that changes options of the valid cell; words that are no name=value come first, as they are."""

        def make(world: World) -> list[str]:
            given = line.split()
            plain = [w for w in given if w.startswith("-") or "=" not in w or w.startswith("=")]
            changes = dict(w.split("=", 1) for w in given if w not in plain)
            return plain + words(world.options | changes)

        self.append((name, "run", make, expected))

    def asked(self, name: str, command: str, line: str, *expected: str) -> None:
        """Add a case of arguments of another command."""
        self.append((name, command, lambda world: line.split(), expected))

    @property
    def each(self) -> pytest.MarkDecorator:
        """Gives a test each of the cases."""
        names = [name for name, *_ in self]
        return pytest.mark.parametrize(("command", "make", "expected"), [given[1:] for given in self], ids=names)

    @staticmethod
    def check(command: str, make: Case, expected: tuple[str, ...], world: World, cli: Command) -> None:
        """Run a case and look at what it printed and left."""
        result = cli(command, *make(world))
        is_one_error(result, numbered="problems\n" in expected[0])
        for text in expected:
            assert text in result.err
        assert not list(world.root.rglob("*.partial"))
        assert not list((world.root / "results/records").rglob("*.json"))
        assert not list((world.root / "results").rglob("*.safetensors"))


def is_one_error(result: Result, numbered: bool = False) -> None:
    assert result.code == 2, (result.out, result.err)
    assert result.err.startswith("aoft_bench: ")
    assert "Traceback" not in result.err
    lines = result.err.rstrip("\n").split("\n")
    if numbered:
        assert all(line.startswith(f"  {i}. ") for i, line in enumerate(lines[1:], 1))
    else:
        assert len(lines) == 1, lines


def results_folder(world: World, **changes: object) -> Path:
    """A results folder with the true record, changed where that is not in its hash."""
    made = json.loads(world.trained.read_text()) | changes
    path = world.root / "A/records" / world.trained.relative_to(world.trained.parents[3])
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(made))
    return path


def raise_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_disk(folder: Path) -> bool:
    """Mount a small file system of its own at `folder` and fill it; False where that is not allowed."""
    if os.geteuid() or not shutil.which("mount"):
        return False
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        return False
    with pytest.raises(OSError, match="No space"), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return True


def edited(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path
