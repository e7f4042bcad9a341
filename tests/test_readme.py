"""What the README says can be typed and run, and the paths that the documentation names."""

import re
import shlex
from pathlib import Path

import pytest

from aoft_bench import methods
from aoft_bench.cli import COMMANDS as CLI_COMMANDS
from aoft_bench.config.command_line import read_command_line
from tools import findings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
FOLDERS = "aoft_bench|benchmarks|conf|docs|hydra_plugins|results/appendix|results/shipped|sweeps|tests|tools"
RUNS = re.findall(r"^    python -m aoft_bench (.*?)(?:  .*)?$", README, flags=re.MULTILINE)


def test_the_commands_of_the_readme_exist():
    named = set(re.findall(r"\baoft-bench ([a-z][a-z-]*)", README))
    assert {"list", "status", "doctor"} <= named <= set(CLI_COMMANDS)


@pytest.mark.parametrize("command", RUNS)
def test_a_run_of_the_readme_is_accepted(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    read_command_line(shlex.split(command), methods.get)


def test_python_example_on_a_users_own_vit_runs():
    (code,) = (block for block in re.split(r"\n(?=\S)", README) if "timm.create_model" in block)
    lines = [line[4:] for line in code.splitlines() if line.startswith("    ")]
    assert any("pretrained=True" in line for line in lines)
    source = "\n".join(lines).replace("pretrained=True", "pretrained=False")  # the tests have no network
    scope: dict = {}
    exec(source, scope)
    handle, model = scope["handle"], scope["model"]
    assert handle.trainable_parameters(head=False) == 12 * (2 * (384 + 384) + 2 * (384 + 1536) + 4 * 8)
    assert model.blocks[0].mlp.fc1.__class__.__name__ == "Linear"  # merged


@pytest.mark.parametrize("page", PAGES)
def test_the_paths_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(rf"(?<![\w/])(?:{FOLDERS})/[\w./-]*\w(?:/(?!\w)|(?=[^\w/<{{*$-]))", text))
    placeholders = ("NAME", "gates", "conf/hparams/")  # the user makes these
    assert [p for p in sorted(named) if not (ROOT / p).exists() and not any(part in p for part in placeholders)] == []


def test_the_readme_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 120 and all(len(line) <= 120 for line in lines if not line.startswith(("|", "![")))


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert len(links) > 15 and [link for link in links if not (ROOT / link).exists()] == []


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make ([a-z]+)", README))
    assert {"demo", "test", "tables"} <= targets
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_tables_of_the_findings_are_those_of_the_results() -> None:
    page = findings.PAGE.read_text(encoding="utf-8")
    named = re.findall(r"^<!-- table (\w+) -->\n\n\|", page, flags=re.MULTILINE)
    assert named == list(findings.tables())
    assert findings.written(page) == page
