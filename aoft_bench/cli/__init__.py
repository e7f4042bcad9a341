"""Commands: one module each, which nothing imports."""

import importlib
import sys

COMMANDS = (
    *("run", "list", "status", "select", "doctor", "prepare", "export"),
    *("evaluate", "tables", "figures", "report", "analyze"),
)


def main() -> int:
    """Run `aoft-bench COMMAND ...`; without a command word it is `run`. Returns the exit code."""
    name = sys.argv.pop(1) if sys.argv[1:] and sys.argv[1] in COMMANDS else "run"
    return int(importlib.import_module(f"aoft_bench.cli.{name}").main())
