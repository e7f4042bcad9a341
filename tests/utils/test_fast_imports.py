"""What each command imports, and that a library hidden during an import is whole afterwards. No seconds."""

import json
import subprocess
import sys
from collections.abc import Iterable

import pytest

from aoft_bench.cli import COMMANDS

UNUSED = (
    "matplotlib",
    "scipy",
    "transformers",
    "pandas",
    "sklearn",
    "wandb",
    "tensorflow",
    "tensorflow_datasets",
    "peft",
)
HEAVY = ("torch", "timm", "pytorch_lightning", *UNUSED)


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def imported(code: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that are imported after `code` ran in a process of its own."""
    return json.loads(
        python(f"{code}\nimport json, sys\nprint(json.dumps([m for m in {[*names]} if m in sys.modules]))")
    )


def commands(*lines: str) -> str:
    """Code that calls the command line with each of these lines and drops what they print."""
    return (
        "import contextlib, io\n"
        "from aoft_bench.cli import main\n"
        f"for line in {lines}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        "        with contextlib.suppress(SystemExit):\n"
        "            main(line.split())"
    )


def test_a_cell_imports_no_library_that_it_does_not_use() -> None:
    assert imported("import aoft_bench.experiments.run", UNUSED) == []


def test_help_and_an_unknown_command_import_no_library() -> None:
    small = ["hydra", "numpy", "omegaconf", "pydantic", "rich", "yaml"]
    assert imported(commands("--help", "--version", "tabels"), [*HEAVY, *small]) == []


def test_no_help_of_a_command_imports_anything_heavy() -> None:
    assert imported(commands(*(f"{command} --help" for command in COMMANDS)), HEAVY) == []


LIGHT = (
    *("list datasets", "tables nowhere", "report nowhere", "select nowhere", "evaluate nowhere"),
    *("doctor dataset=digits data.cache=nowhere", "method=lorra", "-cd sweeps -cn tabels"),
)


@pytest.mark.parametrize("line", LIGHT)
def test_a_command_without_a_network_imports_nothing_heavy(line: str) -> None:
    assert imported(commands(line), HEAVY) == []


@pytest.mark.parametrize("first", [pytest.param(True, marks=pytest.mark.slow), False], ids=["first", "afterwards"])
def test_what_was_hidden_can_be_imported(first: bool) -> None:
    """It is whole then, and torchmetrics, which leaves parts of itself out without some of it, works."""
    ours = "import aoft_bench.experiments.run"
    hidden = ["matplotlib", "scipy", "transformers", "torchvision", "wandb"]
    theirs = "; ".join(f"import {name}; assert {name}.__file__ and {name}.__version__" for name in hidden)
    code = "; ".join([theirs, ours] if first else [ours, theirs]) + (
        "; import torch; from torchmetrics.classification import MulticlassAccuracy as A; "
        "print(A(3, average='micro')(torch.tensor([0, 1]), torch.tensor([0, 2])).item())"
    )
    assert python(code) == "0.5"
