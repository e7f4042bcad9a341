"""Which code this process runs: its version, its commit, and a digest of what can change a number."""

import functools
import hashlib
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

# Packages that read records or start runs. They cannot change the number of a cell, and may change while a sweep runs.
CANNOT_CHANGE_A_NUMBER = ("analysis", "cli", "export", "figures", "report", "results", "tuning")


@functools.cache
def code_digest() -> str:
    """`digest_of` of the code that this process runs, read when it is first called."""
    return digest_of(Path(__file__).resolve().parents[1])


def digest_of(package: Path) -> str:
    """Sixteen hex digits over the source files of all sub-packages that can change the number of a cell.

    Weights and lists of images that come with the package have digests of their own in a record.
    """
    digest = hashlib.sha256()
    for path in sorted(package.glob("*/**/*.py")):
        name = path.relative_to(package)
        if name.parts[0] not in CANNOT_CHANGE_A_NUMBER:
            digest.update(f"{name.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def git_state() -> dict[str, Any]:
    """Commit of the code that this process runs, and whether files were changed since; None where git cannot tell.

    Read once, at the first cell, since the checkout may change while a sweep runs.
    """
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return {"commit": None, "dirty": None}
    commit = _git(checkout, "rev-parse", "HEAD")
    # results/ and docs/ do not change what the code computes
    changed = _git(checkout, "status", "--porcelain", "--", "aoft_bench", "conf", "pyproject.toml")
    return {"commit": commit or None, "dirty": None if changed is None else bool(changed)}


def version_of(package: str) -> str | None:
    """The installed version of a package; None if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails: it is not installed, the checkout belongs to another user, or it takes too
    long."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
