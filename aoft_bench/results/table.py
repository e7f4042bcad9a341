"""A table ready to be written: columns, blocks of cells and notes, the same for every format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from aoft_bench.results.ranking import Mark

MISSING = "missing"


@dataclass(frozen=True)
class Cell:
    """What stands in a field. text: as it is read; spread: standard deviation over seeds, empty for one value; mark:
    rank among the cells it may be ranked with; note: letters of the notes that it refers to; values, seeds: what a
    number was made of, for CSV."""

    text: str
    spread: str = ""
    mark: Mark = ""
    note: str = ""
    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Column:
    """name: its header; group: what stands above it; rotated: the header is turned, in LaTeX and HTML; text: it holds
    words, not numbers; mark: a sign after the name that a note explains, not part of the name in CSV."""

    name: str
    group: str = ""
    rotated: bool = False
    text: bool = False
    mark: str = ""

    @property
    def header(self) -> str:
        return self.name + self.mark


@dataclass(frozen=True)
class Block:
    """Rows between two rules, ranked among themselves or not at all. heading: what sets them apart, or empty."""

    heading: str
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Grid:
    """One table. facts: what all of its rows share, by name, for the columns of the CSV files."""

    title: str
    caption: str
    columns: Sequence[Column]
    blocks: Sequence[Block]
    notes: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headers above the columns from left to right, with how many columns each spans; "" above none."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans
