"""A table: columns, which are functions of a row, and the entries they give. Every format is a writer of it.

A writer chooses what it shows and how. It computes nothing and reads no number back from a text.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from aoft_bench.records.schema import Record
from aoft_bench.results.ranking import Mark, marks, positions, rounded, spread

RowT = TypeVar("RowT")


@dataclass(frozen=True)
class Entry:
    """One field of a table.

    text: as it is printed; without_separators: the same without thousands separators, where it has some; number: in
    full precision, for ranking and sorting; values, seeds: what the number is the mean of; spread: their sample
    standard deviation as printed, empty for one value; records: those that the number is made of; mark: rank among the
    entries of its column; position: where it lies between the lowest (0) and the highest (1) of them; note: letters of
    the notes it refers to; remark: what the page adds, which other formats print as a row.
    """

    text: str
    number: float | None = None
    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    spread: str = ""
    records: tuple[Record, ...] = field(default=(), repr=False, compare=False)
    mark: Mark = ""
    position: float | None = None
    note: str = ""
    remark: str = ""
    without_separators: str = ""


MISSING = Entry("missing")
NOT_AVAILABLE = Entry("n/a")


def count_entry(number: float) -> Entry:
    """A count, exactly (a mean of counts to the next whole number)."""
    return Entry(f"{number:,.0f}", number, without_separators=f"{number:.0f}")


def number_entry(number: float | None, digits: int = 1, absent: Entry = MISSING) -> Entry:
    """A single number; `absent` for None."""
    return absent if number is None else Entry(rounded(number, digits), number)


def mean_entry(values: Sequence[float], seeds: Sequence[int], **more: Any) -> Entry:
    """The mean over seeds with its standard deviation; missing without values. more: other fields of the entry."""
    if not values:
        return MISSING
    mean = statistics.fmean(values)
    return Entry(rounded(mean), mean, tuple(values), tuple(seeds), spread(values), **more)


@dataclass(frozen=True)
class Column(Generic[RowT]):
    """name: what CSV files call it; entry: what stands in the column, of a row; group: what stands above the name;
    text: it holds words, not numbers; ranked: best and second are marked; rotated: the header is turned, in LaTeX and
    HTML; mark: a sign after the header that a note explains, not in CSV; title: the header, if it is not the name."""

    name: str
    entry: Callable[[RowT], Entry]
    group: str = ""
    text: bool = False
    ranked: bool = False
    rotated: bool = False
    mark: str = ""
    title: str = ""

    @property
    def header(self) -> str:
        return (self.title or self.name) + self.mark


@dataclass(frozen=True)
class Block:
    """Rows of entries between two rules, ranked among themselves or not at all. heading: what sets them apart, or
    empty."""

    heading: str
    rows: Sequence[Sequence[Entry]]


@dataclass(frozen=True)
class Table:
    """grouped: files print the groups of the columns in a line above them (the page always does, where there are two);
    shared: what all rows have in common, by name, for the columns of the CSV files; codes: words of the table -> what
    stands for them in these."""

    title: str
    caption: str
    columns: Sequence[Column[Any]]
    blocks: Sequence[Block]
    notes: Sequence[str] = ()
    shared: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    grouped: bool = False
    codes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def make_block(columns: Sequence[Column[RowT]], rows: Iterable[RowT], heading: str = "", ranked: bool = False) -> Block:
    """The entries of `rows`; ranked: with marks and positions in the columns that are ranked."""
    body = [[column.entry(row) for column in columns] for row in rows]
    for i, column in enumerate(columns):
        if ranked and column.ranked:
            numbers = [entries[i].number for entries in body]
            for entries, mark, position in zip(body, marks(numbers), positions(numbers), strict=True):
                entries[i] = replace(entries[i], mark=mark, position=position)
    return Block(heading, body)


def spans(columns: Sequence[Column[Any]]) -> list[tuple[str, int]]:
    """The groups above the columns from left to right, with how many columns each spans; "" above none."""
    return [(group, len(list(some))) for group, some in groupby(column.group for column in columns)]
