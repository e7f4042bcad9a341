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
    for name in ("aoft_bench", "conf", "tests", "sweeps", "docs"):
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


def run(folder: Path, command: str, *more: str) -> str:
    """What a command prints. more: words after those of `command`."""
    words = [*command.replace("aoft-bench", "python -m aoft_bench").split(), *more]
    assert words[0] == "python"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", blocks("bash")[0].splitlines())
def test_the_commands_of_the_page_work(checkout: Path, command: str) -> None:
    out = run(checkout, command)
    if "pytest" in command:
        assert int(re.search(r"(\d+) passed", out)[1]) > 15  # type: ignore[index]
    else:
        assert "gates" in out
    if "dry_run" in command:
        assert "121,344" in out
    if "quick" in command:
        assert "test top-1" in out


@pytest.mark.slow
def test_no_other_test_asks_for_an_entry_of_the_new_method(checkout: Path) -> None:
    """Those that look at all methods, at all files of conf/ and at the pages."""
    out = run(
        checkout,
        "python -m pytest tests/methods/test_methods.py tests/config/test_config.py -k",
        "gates or yaml or page or title",
    )
    assert " passed" in out


def test_the_page_names_only_what_there_is() -> None:
    for name in re.findall(r"`((?:tests|conf|aoft_bench)/[\w/.-]+)`", PAGE):
        assert (ROOT / name).exists() or "gates" in name, name
    for name in re.findall(r"`((?:parts/)?\w+\.py)`", PAGE):
        assert (ROOT / "aoft_bench" / "methods" / name).is_file(), name
