"""The command line: `aoft-bench COMMAND ...`, the same as `python -m aoft_bench COMMAND ...`.

A command is a module of this package. It has ``main(arguments)``, which returns the exit code, and may have
``INTERRUPTED``, which Ctrl-C prints. Nothing else imports these modules, and a command's module is imported when it
is called.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from aoft_bench import __version__
from aoft_bench.utils.errors import UserError, unknown

# in the order of --help
COMMANDS = {
    "run": "train, test and record one cell, or each cell of a sweep",
    "list": "methods, datasets and backbones, with parameter counts and sources",
    "status": "how far a sweep is, and the time left",
    "doctor": "which data are ready, whether they are right, and how two copies differ",
    "prepare": "download and decode images ahead of a run",
    "export": "write tasks as folders of PNG files, for other people's code",
    "select": "choose hyper-parameters by their tuning runs, for hparams=tuned",
    "evaluate": "score the saved parameters of a record again",
    "analyze": "how orthogonal a backbone and trained methods are",
    "tables": "tables from results/, in every format",
    "figures": "figures from results/",
    "report": "results/ as one HTML page",
}

HELP = """usage: aoft-bench COMMAND ...          `aoft-bench COMMAND --help` shows what each takes
       aoft-bench [name=value ...]     without a command: run

{commands}

python -m aoft_bench is the same as aoft-bench. Examples:
  aoft-bench method=aoft dataset=cifar100 backbone=vit_b16_in21k
  aoft-bench -cd sweeps -cn vtab1k
  aoft-bench backbone=vit_nano dataset=digits trainer=cpu logger=none     no network, no data, seconds"""


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser for one command; a mistake is a `UserError` instead of the usage and an exit."""

    def __init__(self, command: str, **options: object) -> None:
        super().__init__(prog=f"aoft-bench {command}", **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process's own, and return its exit code.

    0: done; 2: a mistake of the user or a failed cell, in one line on stderr; 130: Ctrl-C; 1 is a command's own "no".
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["-h"], ["--help"]):
        print(HELP.format(commands="\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items())))
        return 0
    if words[:1] == ["--version"]:
        print(f"aoft_bench {__version__}")
        return 0
    interrupted = ""
    try:
        command = importlib.import_module(f"aoft_bench.cli.{_command_of(words)}")
        interrupted = getattr(command, "INTERRUPTED", "")
        return int(command.main(words))
    except UserError as error:
        print(f"aoft_bench: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print(f"\naoft_bench: interrupted{'; ' * bool(interrupted)}{interrupted}", file=sys.stderr)
        return 130


def _command_of(words: list[str]) -> str:
    """Take the command off the front of `words`; `run` where they start with an option or a flag."""
    if not words or not re.fullmatch(r"\w[\w-]*", words[0]):
        return "run"
    if words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS, "options of a run are name=value, as in method=aoft")
    return words.pop(0)
