"""docs/adding-a-method.md, followed literally in a copy of the package: one file, one YAML, and its commands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.S)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the page's two files added, and nothing else changed."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("aoft_bench", "conf", "tests", "sweeps"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (file, yaml), written = re.findall(r"^`((?:aoft_bench|conf)/\S+)`:$", PAGE, flags=re.M), []
    for name, (text,) in ((file, blocks("python")), (yaml, blocks("yaml"))):
        path = folder / name
        assert not path.exists(), f"{name} is a method of ours by now: the page needs another example"
        path.write_text(text, encoding="utf-8")
        written.append(path)
    assert len(written) == 2
    return folder


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    program, *words = command.split()
    assert program in ("python", "aoft-bench")
    words = words if program == "python" else ["-m", "aoft_bench", *words]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("command", blocks("bash")[0].splitlines())
def test_the_commands_of_the_page_work(checkout: Path, command: str) -> None:
    done = run(checkout, command)
    assert done.returncode == 0, done.stdout + done.stderr
    if "pytest" in command:
        assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 15  # type: ignore[index]
    else:
        assert "diff_fit" in done.stdout
    if "dry_run" in command:
        assert "140,544" in done.stdout
    if "quick" in command:
        assert "test top-1" in done.stdout


def test_the_page_names_only_what_there_is() -> None:
    for name in re.findall(r"`((?:tests|conf|aoft_bench)/[\w/.-]+)`", PAGE):
        assert (ROOT / name).exists() or "diff_fit" in name, name
    for name in re.findall(r"`((?:parts/)?\w+\.py)`", PAGE):
        assert (ROOT / "aoft_bench" / "methods" / name).is_file(), name
