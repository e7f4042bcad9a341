"""Locks: what is no lock file of this user is refused in a line and left as it is."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from aoft_bench.utils.errors import UserError
from aoft_bench.utils.locks import claim, is_held, preparing


@pytest.mark.parametrize("kind", ["a folder", "a link", "no ordinary file"])
def test_what_is_no_file_is_no_lock(kind: str, tmp_path: Path) -> None:
    lock, target = tmp_path / "it.lock", tmp_path / "target"
    target.write_text("kept")
    if kind == "a folder":
        lock.mkdir()
    elif kind == "a link":
        lock.symlink_to(target)
    else:
        os.mkfifo(lock)
    assert not is_held(lock)
    with pytest.raises(UserError, match=f"it.lock must be a lock file, but is {kind}; move"), preparing("it", lock):
        pass
    with pytest.raises(UserError, match=kind), claim(lock, "it", wait=False):
        pass
    assert target.read_text() == "kept" and lock.is_symlink() == (kind == "a link")


def test_the_lock_of_another_user_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    lock = tmp_path / "it.lock"
    with claim(lock, "it", wait=False) as theirs:
        assert theirs
        monkeypatch.setattr(FileLock, "acquire", acquire)
        assert is_held(lock)
        with claim(lock, "it", wait=False) as mine:
            assert not mine
        with pytest.raises(UserError, match="is another user's, whose process is running"), preparing("it", lock):
            pass
    assert not is_held(lock)
    with pytest.raises(UserError, match="is another user's, whose process is gone"), claim(lock, "it", wait=False):
        pass
    lock.unlink()
    with pytest.raises(PermissionError), claim(lock, "it", wait=False):  # of the folder
        pass
