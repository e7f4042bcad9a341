"""Tables of the settings of one method: what differs between its rows, and what it does."""

from collections import defaultdict
from functools import partial
from typing import Any

from aoft_bench.results.accuracy_table import accuracy_columns
from aoft_bench.results.rows import Row, value_text
from aoft_bench.results.settings import Comparison
from aoft_bench.results.table import NOT_AVAILABLE, Column, Entry, Table, make_block


def ablation_tables(comparison: Comparison) -> list[Table]:
    """One table for each method that has several rows in `comparison`."""
    families: dict[str, list[Row]] = defaultdict(list)
    for row in comparison.rows:
        families[row.family].append(row)
    return [_table(comparison, name, rows) for name, rows in sorted(families.items()) if len(rows) > 1]


def _table(comparison: Comparison, family: str, rows: list[Row]) -> Table:
    settings = [_options(row) for row in rows]
    keys = dict.fromkeys(key for options in settings for key in options)
    differing = [key for key in keys if len({str(options.get(key)) for options in settings}) > 1]
    method, *others = accuracy_columns(
        comparison.datasets, comparison.layout, comparison.unofficial, comparison.layout != "vtab1k", comparison.titles
    )
    columns: list[Column[Row]] = [
        method,
        *(Column(key, partial(_option, key), text=True) for key in differing),
        *others,
    ]
    name = comparison.titles.method(family)
    return Table(
        f"Settings of {name}: {comparison.title}",
        f"Rows of the main table that are settings of {name}, and what differs between them; {comparison.caption}",
        columns,
        [make_block(columns, rows, ranked=True)],
        [note for note in comparison.notes if not note.startswith(tuple(row.label for row in rows))],
        comparison.setting.as_columns(),
        grouped=comparison.layout == "vtab1k",
    )


def _option(key: str, row: Row) -> Entry:
    options = _options(row)
    return Entry(value_text(options[key])) if key in options else NOT_AVAILABLE


def _options(row: Row) -> dict[str, Any]:
    """Options of a row's method, and those values of the recipe that are the same for all of its datasets."""
    method = {key: value for key, value in row.records[0]["config"]["method"].items() if key not in ("name", "label")}
    recipes = [record["config"]["recipe"] for record in row.records]
    same = {key: value for key, value in recipes[0].items() if all(recipe.get(key) == value for recipe in recipes)}
    return method | {key: value for key, value in same.items() if key != "epochs"}
