"""Which code this process runs: its version, its commit, and a digest of what can change a number."""

import functools
import hashlib
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

# what computes the number of a cell; tables, pages and commands may change between two workers of a sweep
_COUNTS = ("backbones", "data", "experiments", "methods", "records", "training")


@functools.cache
def code_digest() -> str:
    """Sixteen hex digits over the source files that can change a cell's number. Read once, when first asked."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for name in _COUNTS:
        for path in sorted((package / name).rglob("*.py")):
            digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def git_state() -> dict[str, Any]:
    """Commit of the code that this process runs, and whether it was changed since; empty outside a checkout.

    Asked once, at the first cell: a sweep may go on for hours while the checkout moves on.
    """
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return {"commit": None, "dirty": None}
    commit = _git(here, "rev-parse", "HEAD")
    # records and notes do not change what the code computes
    changed = _git(here, "status", "--porcelain", "--", "aoft_bench", "conf", "pyproject.toml")
    return {"commit": commit or None, "dirty": bool(changed)}


def version_of(package: str) -> str | None:
    """The installed version of a package; None if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
