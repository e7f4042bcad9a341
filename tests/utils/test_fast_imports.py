"""What each command imports, and that a library hidden during an import is whole afterwards. No seconds."""

import gc
import json
import subprocess
import sys

import pytest

from aoft_bench.cli import COMMANDS
from aoft_bench.utils.fast_imports import uncollected

UNUSED = {
    *["matplotlib", "scipy", "transformers", "pandas", "sklearn", "wandb", "tensorflow", "tensorflow_datasets", "peft"]
}
HEAVY = ("torch", "timm", "pytorch_lightning", *UNUSED)


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_command_imports_what_it_does_not_use() -> None:
    """One process calls them in this order: lines, and the libraries that none so far may have imported."""
    light = ("--help", "--version", "tabels"), [*HEAVY, "hydra", "numpy", "omegaconf", "pydantic", "rich", "yaml"]
    helps = [f"{command} --help" for command in COMMANDS], HEAVY
    without_network = (
        (
            *("list datasets", "tables nowhere", "report nowhere", "select nowhere", "evaluate nowhere"),
            *("doctor dataset=digits data.cache=nowhere", "method=lorra", "-cd sweeps -cn tabels"),
        ),
        HEAVY,
    )
    code = (
        "import contextlib, io, json, sys\n"
        "from aoft_bench.cli import main\n"
        "found = {}\n"
        f"for lines, names in {(light, helps, without_network)}:\n"
        "    for line in lines:\n"
        "        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        "            with contextlib.suppress(SystemExit):\n"
        "                main(line.split())\n"
        "        found[line] = [name for name in names if name in sys.modules]\n"
        "print(json.dumps(found))"
    )
    found = json.loads(python(code))
    assert len(found) == 3 + len(COMMANDS) + 8 and not any(found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["first", "afterwards"])
def test_a_cell_imports_no_library_that_it_does_not_use_and_leaves_it_whole(first: bool) -> None:
    """It can be imported before or after, and torchmetrics, which leaves parts of itself out without it, works."""
    ours = "import sys, aoft_bench.experiments.run"
    unused = f"assert not {UNUSED!r} & sys.modules.keys(), sys.modules.keys()"
    hidden = ["matplotlib", "scipy", "transformers", "torchvision", "wandb"]
    theirs = "; ".join(f"import {name}; assert {name}.__file__ and {name}.__version__" for name in hidden)
    code = "; ".join([theirs, ours] if first else [ours, unused, theirs]) + (
        "; import torch; from torchmetrics.classification import MulticlassAccuracy as A; "
        "print(A(3, average='micro')(torch.tensor([0, 1]), torch.tensor([0, 2])).item())"
    )
    assert python(code) == "0.5"


def test_what_is_imported_first_is_left_out_of_later_collections_and_what_comes_later_is_not() -> None:
    """The models of earlier cells must not stay when a cell imports another method."""
    code = (
        "import gc, sys; from aoft_bench.cli import method_class; method_class('lora'); first = gc.get_freeze_count();"
        "method_class('adapter'); assert 'torch' in sys.modules; print(first > 10**5, gc.get_freeze_count() == first)"
    )
    assert python(code) == "True True"


def test_nothing_is_collected_while_importing() -> None:
    assert gc.isenabled()
    with uncollected():
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
