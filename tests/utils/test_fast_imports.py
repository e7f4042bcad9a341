"""Start-up: what a cell imports, and that hiding libraries from others leaves them whole. No seconds."""

import subprocess
import sys

import pytest

UNUSED = [
    "matplotlib",
    "scipy",
    "transformers",
    "pandas",
    "sklearn",
    "wandb",
    "tensorflow",
    "tensorflow_datasets",
    "peft",
]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_cell_imports_no_library_that_it_does_not_use() -> None:
    code = f"import aoft_bench.experiments.run, sys; print([m for m in {UNUSED} if m in sys.modules])"
    assert python(code) == "[]"


def test_the_command_line_alone_imports_no_torch() -> None:
    heavy = ["torch", "timm", "pytorch_lightning", "hydra", *UNUSED]
    assert python(f"import aoft_bench.cli.run, sys; print([m for m in {heavy} if m in sys.modules])") == "[]"


@pytest.mark.parametrize("first", [True, False], ids=["first", "afterwards"])
def test_what_was_hidden_can_be_imported(first: bool) -> None:
    ours = "import aoft_bench.experiments.run"
    hidden = ["matplotlib", "scipy", "transformers", "torchvision", "wandb"]
    theirs = "; ".join(f"import {name}; assert {name}.__file__ and {name}.__version__" for name in hidden)
    assert python("; ".join([theirs, ours] if first else [ours, theirs]) + "; print('whole')") == "whole"


def test_torchmetrics_works_when_a_user_imports_it() -> None:
    code = (
        "import aoft_bench.experiments.run, torch; from torchmetrics.classification import MulticlassAccuracy as A; "
        "print(A(3, average='micro')(torch.tensor([0, 1]), torch.tensor([0, 2])).item())"
    )
    assert python(code) == "0.5"
