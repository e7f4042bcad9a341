"""Cells that are done already. They are found without torch, whose import takes longer than all of them together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aoft_bench.config.added_options import added_by_methods, without_added
from aoft_bench.config.schema import RunConfig, from_dict
from aoft_bench.experiments.device import processes_of
from aoft_bench.experiments.locate import Locator
from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError


@dataclass(frozen=True)
class Outcome:
    """How a run ended. "elsewhere": another process runs this cell. record: the content of its file, if any."""

    kind: Literal["done", "skipped", "elsewhere", "dry run"]
    path: Path | None
    record: dict[str, Any] | None


class Finder:
    """Reads the configurations of cells and finds their files; what many cells share is looked for once."""

    def __init__(self) -> None:
        self.locator = Locator()

    def config(self, tree: Mapping[str, Any]) -> RunConfig:
        """The configuration of a cell, but for the options of its method, which are not checked: that needs torch."""
        return from_dict(without_added(tree, added_by_methods()))

    def done_before(self, tree: Mapping[str, Any]) -> Outcome | None:
        """The outcome of a cell that has a record and is not to run again; None for any other.

        tree: a completed configuration. What is wrong with it or its data is left to `run`, which then says so. Raises
        `UserError` for a record that cannot be used.
        """
        try:
            config = self.config(tree)
            processes_of(config.trainer)
            if config.dry_run or config.results.mode == "force":
                return None
            files = self.locator.files(config)
        except UserError:
            return None
        return skipped(files.record) if files and files.record.is_file() else None


def skipped(path: Path) -> Outcome:
    """The outcome for a cell that has a record. Raises `UserError` for a record that cannot be used."""
    try:
        return Outcome("skipped", path, read_record(path))
    except UserError as error:
        raise UserError(f"{error}, or replace it by results.mode=force") from None
