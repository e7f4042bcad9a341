"""The command line: one help for all commands, arguments as parameters, and how mistakes and Ctrl-C end."""

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Command

import aoft_bench
from aoft_bench import cli as command_line
from aoft_bench.cli import COMMANDS, _as_option, main
from aoft_bench.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(command_line.__file__).parent


def test_every_module_with_a_main_is_a_command() -> None:
    trees = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in FOLDER.glob("[!_]*.py")}
    having = {
        name
        for name, tree in trees.items()
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
    }
    assert {name.replace("_", "-") for name in having} == COMMANDS.keys()


def test_help_shows_all_commands_on_one_screen(cli: Command) -> None:
    done = cli("--help")
    lines = done.out.splitlines()
    assert done.code == 0 and len(lines) <= 24 and max(map(len, lines)) <= 100
    for name, summary in COMMANDS.items():
        assert any(line.split()[:1] == [name] and line.endswith(summary) for line in lines)
    assert cli("-h") == done


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help(command: str, cli: Command) -> None:
    done = cli(command, "--help")
    assert done.code == 0 and not done.err
    assert f"aoft-bench {command}" in done.out or command == "run"
    assert max(map(len, done.out.splitlines())) <= 120
    beginnings = (f"aoft-bench {command}", "python -m aoft_bench") if command == "run" else (f"aoft-bench {command}",)
    assert any(line.strip().startswith(beginnings) for line in done.out.splitlines()), "it has no example"


def test_version(cli: Command) -> None:
    assert cli("--version").out == f"aoft_bench {aoft_bench.__version__}\n"


@pytest.mark.parametrize(("typed", "meant"), [("tabels", "tables"), ("eval", "evaluate"), ("lists", "list")])
def test_an_unknown_command_gets_one_line_with_the_closest(typed: str, meant: str, cli: Command) -> None:
    done = cli(typed)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"aoft_bench: unknown command '{typed}' (did you mean '{meant}'?); allowed: {meant}, ")
    assert "name=value" in done.err


@pytest.mark.parametrize(
    ("typed", "meant"), [("lora", "method=lora"), ("cifar100", "dataset=cifar100"), ("nothing", "method=aoft")]
)
def test_a_bare_name_gets_the_option_that_it_stands_for(typed: str, meant: str) -> None:
    assert _as_option(typed) == meant


@pytest.mark.parametrize("command", ["list", "select", "doctor", "tables", "figures", "report", "analyze"])
def test_an_unknown_flag_gets_one_line(command: str, cli: Command) -> None:
    done = cli(command, "--fast")
    assert done.code == 2 and done.err.count("\n") == 1 and "--fast" in done.err


def test_without_a_command_it_is_run(cli: Command) -> None:
    before = list(sys.argv)
    done = cli("method=lorra")
    assert done.code == 2 and "did you mean 'lora'" in done.err
    assert cli("run", "method=lorra") == done
    assert sys.argv == before


def ending_with(error: BaseException) -> object:
    def ends(arguments: Sequence[str]) -> int:
        raise error

    return ends


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_and_ctrl_c_end_alike_in_all(command: str, cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"aoft_bench.cli.{command.replace('-', '_')}")
    monkeypatch.setattr(module, "main", ending_with(UserError("too many")))
    assert cli(command).code == 2 and cli(command).err == "aoft_bench: too many\n"
    monkeypatch.setattr(module, "main", ending_with(KeyboardInterrupt()))
    stopped = cli(command)
    assert stopped.code == 130 and stopped.err.startswith("\naoft_bench: interrupted")
    assert getattr(module, "INTERRUPTED", "") in stopped.err


def test_the_exit_code_of_a_command_is_passed_on(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Sequence[str]] = []
    monkeypatch.setattr("aoft_bench.cli.doctor.main", lambda arguments: given.append(arguments) or 1)
    assert main(["doctor", "--compare", "A", "B"]) == 1
    assert given == [["--compare", "A", "B"]]


def test_python_dash_m_is_the_same(cli: Command, tmp_path: Path) -> None:
    for words in (["--help"], ["list", "datasets"], ["tabels"]):
        done = subprocess.run(
            [sys.executable, "-m", "aoft_bench", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        here = cli(*words)
        assert (done.returncode, done.stdout, done.stderr) == (here.code, here.out, here.err)


def test_hydra_looks_for_its_mode_only_where_something_can_give_one() -> None:
    from hydra._internal.hydra import Hydra

    from aoft_bench.cli.run import _without_mode

    of_hydra = Hydra.get_mode
    with _without_mode(None, "config", ["method=lora"]):
        assert Hydra.get_mode is not of_hydra
    assert Hydra.get_mode is of_hydra
    for folder, name, words in (
        (Path("sweeps"), "config", []),
        (None, "demo", []),
        (None, "config", ["hydra.mode=RUN"]),
    ):
        with _without_mode(folder, name, words):
            assert Hydra.get_mode is of_hydra
