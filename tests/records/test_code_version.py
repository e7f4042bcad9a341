"""The digest of the code covers every package that can change the number of a cell."""

import shutil
from pathlib import Path

import pytest
from test_imports import LAYERS, PACKAGE

from aoft_bench.records.code_version import CANNOT_CHANGE_A_NUMBER, code_digest, digest_of, git_state

NAMES = [name for layer in LAYERS for name in layer]
LAST = next(i for i, layer in enumerate(LAYERS) if "experiments" in layer)


def test_what_a_run_may_import_is_covered_and_nothing_else() -> None:
    """A package above `experiments` cannot be imported by a run, see test_imports.py."""
    assert set(CANNOT_CHANGE_A_NUMBER) == {name for layer in LAYERS[LAST + 1 :] for name in layer}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code") / "aoft_bench"
    shutil.copytree(PACKAGE, folder, ignore=lambda _, names: [n for n in names if "." in n and not n.endswith(".py")])
    return folder


def test_the_digest_is_that_of_this_code(copy: Path) -> None:
    assert digest_of(copy) == code_digest()


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_or_added_file_changes_the_digest(copy: Path, name: str) -> None:
    before = digest_of(copy)
    path = sorted((copy / name).rglob("*.py"))[-1]
    text = path.read_bytes()
    path.write_bytes(text + b"\n# changed")
    changed = digest_of(copy)
    path.write_bytes(text)
    assert digest_of(copy) == before
    (copy / name / "added.py").touch()
    added = digest_of(copy)
    (copy / name / "added.py").unlink()
    assert len({before, changed, added}) == (1 if name in CANNOT_CHANGE_A_NUMBER else 3)


def test_where_git_cannot_be_asked_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git is not there; git knows the commit, and fails to say what was changed."""
    monkeypatch.setattr("aoft_bench.records.code_version.__file__", f"{tmp_path}/aoft_bench/records/code_version.py")
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state.__wrapped__() == {"commit": None, "dirty": None}
    git = tmp_path / "git"
    git.write_text('#!/bin/sh\ncase "$3" in rev-parse) echo c0ffee;; *) exit 128;; esac\n')
    git.chmod(0o755)
    assert git_state.__wrapped__() == {"commit": "c0ffee", "dirty": None}
    git.write_text('#!/bin/sh\ncase "$3" in rev-parse) echo c0ffee;; esac\n')
    assert git_state.__wrapped__() == {"commit": "c0ffee", "dirty": False}
