"""The command line: `aoft-bench COMMAND ...`, the same as `python -m aoft_bench COMMAND ...`.

Each command is a module of this package with ``main(arguments)``, which returns the exit code. It may define
``INTERRUPTED``, what to print after Ctrl-C. A command's module is imported only when the command is called.
"""

import argparse
import importlib
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from aoft_bench import __version__
from aoft_bench.utils.errors import UserError, system_problem, unknown
from aoft_bench.utils.streams import finish_streams, steady_streams
from aoft_bench.utils.text import is_one_line, shown

# in the order of --help
COMMANDS = {
    "run": "train, test and record one cell, or each cell of a sweep",
    "list": "methods, datasets and backbones, with parameter counts and sources",
    "status": "what is in results/; how far a sweep is, and the time left",
    "doctor": "which data are ready, whether they are right, how two copies differ",
    "prepare": "download and decode images ahead of a run",
    "export": "write tasks as folders of images, for other people's code",
    "tune": "search a grid on val200 by successive halving, at a third of its epochs",
    "select": "choose hyper-parameters from tuning runs, for hparams=tuned",
    "evaluate": "score the saved parameters of a record again",
    "analyze": "how orthogonal a backbone and trained methods are, and what was forgotten",
    "export-model": "write what was trained for timm, ONNX or peft, and send it to the hub",
    "predict": "what is in images, by a model that export-model wrote",
    "verify": "run a sample of somebody's cells again: do the numbers come out",
    "merge-results": "put the records of several machines and labs together",
    "tables": "the tables of results/, printed and written in every format",
    "compare": "is method A better than B on a dataset, image by image",
    "figures": "the figures of results/, as PDF and PNG, with a page on them",
    "report": "results/ as one self-contained HTML page",
}

# at the end of a command's --help; what is not here has them in its own text
EXAMPLES = {
    "list": ("methods", "datasets backbones", "networks"),
    "select": (
        "",
        "--methods lora,full --datasets digits --dry-run",
        "results/tuning --as large --backbone vit_l16_in21k",
    ),
    "evaluate": (
        "results/records/vit_nano/lora/digits/seed0-0123456789.json",
        "results/records/vit_nano/lora/digits/seed0-0123456789.json alpha=0,0.5,1",
    ),
    "export-model": (
        "results/records/vit_nano/lora/digits/seed0-0123456789.json out=my_model",
        "results/records/vit_nano/lora/digits/seed0-0123456789.json out=my_model push=OWNER/NAME",
    ),
    "predict": ("photo.jpg model=my_model", "photos/ model=my_model top=5 out=predictions.csv"),
    "verify": ("theirs sample=3 seed=42 data.root=data/packs",),
    "merge-results": ("mine theirs out=together",),
    "tables": ("", "results/shipped", "results beside=results/shipped"),
    "compare": ("aoft lora", "aoft lora dataset=eurosat epochs=100"),
    "figures": ("", "results/shipped"),
    "report": ("", "results/shipped"),
}

HELP_FLAGS = {"-h", "--help"}

HELP = """usage: aoft-bench COMMAND ...                  `aoft-bench COMMAND --help` shows its arguments
       python -m aoft_bench name=value ...     the same as `aoft-bench run name=value ...`

{commands}

python -m aoft_bench -cd sweeps -cn vtab1k                      19 tasks x 6 methods x 3 seeds
python -m aoft_bench backbone=vit_nano dataset=digits trainer=cpu logger=none     no download"""


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser of one command. A mistake in the arguments is a `UserError`."""

    def __init__(self, command: str, **options: Any) -> None:
        super().__init__(**{"prog": f"aoft-bench {command}", "description": COMMANDS.get(command), **options})
        self.examples = [f"aoft-bench {command} {words}".rstrip() for words in EXAMPLES.get(command, ())]

    def format_help(self) -> str:
        return "\n  ".join([super().format_help() + ("\nfor example:" if self.examples else ""), *self.examples]) + "\n"

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def method_class(name: str) -> type[Any]:
    """The class of a method, for the checks of its options. Imports torch when it is called, not before."""
    from aoft_bench.utils.fast_imports import uncollected

    with uncollected(keep=True):
        from aoft_bench import methods

        return methods.get(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of this process.

    Returns the exit code: 0 after success, 2 after a mistake of the user or a failed cell, 130 after Ctrl-C. `evaluate`
    and `doctor --compare` return 1 where two results differ. Output that cannot be written stops nothing: the work is
    done, and the exit code is 2. A pipe that nobody reads any more is no mistake.
    """
    if arguments is not None:
        return _run([*arguments])  # `list` is the command of that name here
    steady_streams()
    signal.signal(signal.SIGTERM, _end)
    try:
        code = _run(sys.argv[1:])
    except SystemExit as ended:  # of argparse, after --help; of a signal
        code = int(ended.code or 0)
    return finish_streams(code)


def _end(number: int, frame: FrameType | None) -> None:
    """End the process on a signal by an exception, so that files that are half written are removed."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _run(words: list[str]) -> int:
    if HELP_FLAGS & {*words[:1]}:
        print(HELP.format(commands="\n".join(f"  {name:<13} {summary}" for name, summary in COMMANDS.items())))
        return 0
    if words[:1] == ["--version"]:
        print(f"aoft_bench {__version__}")
        return 0
    interrupted = "interrupted"
    try:
        for word in words:
            _check_characters(word)
        module = importlib.import_module(f"aoft_bench.cli.{_take_command(words).replace('-', '_')}")
        if hasattr(module, "INTERRUPTED"):
            interrupted += f"; {module.INTERRUPTED}"
        return int(module.main(words))
    except UserError as error:
        print(f"aoft_bench: {error}", file=sys.stderr, flush=True)
        return 2
    except OSError as error:
        print(f"aoft_bench: {system_problem(error)}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print(f"\naoft_bench: {interrupted}", file=sys.stderr)
        return 130


def _check_characters(word: str) -> None:
    """Raise `UserError` for a word with control characters, or that is not UTF-8: a record could not hold it."""
    if not is_one_line(word):
        raise UserError(f"cannot read the argument {shown(word)}: names are one line of UTF-8; rename what it names")


def _take_command(words: list[str]) -> str:
    """Remove the command from the front of `words` and return it; "run" if they start with a flag or an option."""
    if not words or not re.fullmatch(r"\w[\w-]*", words[0]):
        return "run"
    if words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS, f"options of a run are name=value, as in {_as_option(words[0])}")
    return words.pop(0)


def _as_option(word: str) -> str:
    """The option that a bare word may stand for, such as method=lora; method=aoft for one that is no file of conf/."""
    from aoft_bench.config.folders import conf_dir

    groups = ("method", "dataset", "backbone", "experiment", "trainer", "protocol")
    group = next((group for group in groups if (conf_dir() / group / f"{word}.yaml").is_file()), "")
    return f"{group}={word}" if group else "method=aoft"
