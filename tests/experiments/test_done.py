"""Cells that are done: found without torch, and before a sweep launches the others."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import call, words

from aoft_bench.experiments.launchers import serial
from aoft_bench.records.files import read_record

CODE = """
import contextlib, io, json, sys
from aoft_bench.cli import main
out = io.StringIO()
with contextlib.redirect_stdout(out):
    code = main(sys.argv[1:])
print(json.dumps([code, out.getvalue(), "torch" in sys.modules]))
"""


@pytest.fixture(scope="module")
def cells(nano_pack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder in which two cells of one image size are done, and the options of both."""
    root = tmp_path_factory.mktemp("done")
    options = nano_pack | {"method": "linear,norm", "seed": "0"}
    result = call("-m", *words(options), cwd=root)
    assert result.code == 0 and "2 cells: 2 done" in result.out
    return root, options


def test_done_cells_are_skipped_without_torch(cells: tuple[Path, dict[str, str]]) -> None:
    root, options = cells
    command = [sys.executable, "-c", CODE, "-m", *words(options)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code, out, torch = json.loads(done.stdout.splitlines()[-1])
    assert code == 0 and not torch
    assert out.count("(done before)") == 2 and "2 cells: 2 done before" in out
    assert "linear" in out.partition("2 cells")[0], "the table of the sweep has them"


def test_only_the_others_are_launched(cells: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    root, options = cells
    launched: list[Any] = []
    monkeypatch.setattr(serial, "launch", lambda sweep, cells, options: launched.extend(cells) or [])
    result = call("-m", *words(options, method="linear,bitfit,norm"), cwd=root)
    (cell,) = launched
    assert "method=bitfit" in cell[1]
    assert result.code == 2 and "3 cells: 2 done before, 1 missing" in result.err
    launched.clear()
    result = call("-m", *words(options, results__mode="force"), cwd=root)
    assert len(launched) == 2 and "2 cells: 2 missing" in result.err


def test_a_record_that_cannot_be_used_is_refused_by_its_cell(cells: tuple[Path, dict[str, str]]) -> None:
    root, options = cells
    (path,) = (root / "results/records").rglob("norm/**/*.json")
    content = path.read_text()
    try:
        path.write_text(content[:100])
        result = call("-m", *words(options), cwd=root)
        assert result.code == 2 and "2 cells: 1 done before, 1 failed" in result.err
        assert "replace it by results.mode=force" in result.err
    finally:
        path.write_text(content)
    assert read_record(path)["method"] == "norm"
