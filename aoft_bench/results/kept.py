"""The predictions of a results folder, read where a table or a figure needs them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aoft_bench.records.files import place_of, predictions_path
from aoft_bench.records.predictions import Predictions, has_predictions, keeps_predictions, parse_predictions
from aoft_bench.records.schema import Record
from aoft_bench.results.collect import LeftOut
from aoft_bench.results.rows import Row
from aoft_bench.utils.errors import UserError


@dataclass(frozen=True)
class RowPredictions:
    """What the runs of a row predicted of the images of one dataset. runs: one a seed, of the same images in the same
    order, for all rows of a comparison. classes: how many the dataset has."""

    row: Row
    seeds: list[int]
    runs: list[Predictions]
    classes: int

    @property
    def correct(self) -> np.ndarray:
        """(seeds, N) bool."""
        return np.stack([run.correct for run in self.runs])

    def of(self, seeds: list[int]) -> "RowPredictions":
        """Those of some of the seeds."""
        return RowPredictions(self.row, seeds, [self.runs[self.seeds.index(seed)] for seed in seeds], self.classes)


@dataclass
class Kept:
    """The predictions beside the records below `root`; none without a root. left_out: files that are not used, by path.

    Nothing that is read is remembered: all predictions of a folder may take more than the memory.
    """

    root: Path | None = None
    left_out: dict[Path, LeftOut] = field(default_factory=dict)
    _paths: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def reasons(self) -> list[LeftOut]:
        """The files that are not used, by path below the root."""
        return [self.left_out[path].below(self.root or path) for path in sorted(self.left_out)]

    def has(self, record: Record) -> bool:
        """Whether a record's predictions are here; they may still be damaged."""
        return self.root is not None and keeps_predictions(record) and has_predictions(self._place(record), record)

    def has_some(self, row: Row, dataset: str) -> bool:
        """Whether predictions of a row on a dataset are here."""
        return any(record["dataset"] == dataset and self.has(record) for record in row.records)

    def read(self, record: Record) -> Predictions | None:
        """A record's predictions; None where there are none or they are left out."""
        if not self.has(record):
            return None
        file = predictions_path(self._place(record))
        if file in self.left_out:
            return None
        try:
            return parse_predictions(file, record)
        except UserError as error:
            self.left_out[file] = LeftOut(file, str(error))
            return None

    def of_dataset(self, rows: Sequence[Row], dataset: str) -> list[RowPredictions]:
        """Those of each row of a comparison that has some, on one dataset."""
        found = []
        first: tuple[int, np.ndarray] | None = None
        for row in rows:
            seeds, runs = [], []
            for record in row.records:
                if record["dataset"] != dataset or (run := self.read(record)) is None:
                    continue
                first = first or (record["data"]["classes"], run.label)
                if record["data"]["classes"] == first[0] and np.array_equal(run.label, first[1]):
                    seeds.append(record["seed"])
                    runs.append(run)
                else:  # a record was edited: the images are the same
                    file = predictions_path(self._place(record))
                    reason = "has other labels than other predictions of the same images"
                    self.left_out[file] = LeftOut(file, reason)
            if runs and first:
                found.append(RowPredictions(row, seeds, runs, first[0]))
        return found

    def _place(self, record: Record) -> Path:
        """Where a record is; found once, since each is asked for several times."""
        assert self.root is not None
        key = (record["backbone"], record["method"], record["dataset"], record["hash"])
        if key not in self._paths:
            self._paths[key] = place_of(record, self.root)
        return self._paths[key]
