"""The files of results/tables, as texts by name, and the tables of a sweep on a terminal."""

from collections.abc import Mapping, Sequence

from aoft_bench.results.accuracy_table import ablation, accuracy, published_only
from aoft_bench.results.cost_table import cost
from aoft_bench.results.published import Published, PublishedRow
from aoft_bench.results.rows import Record
from aoft_bench.results.settings import Layout, Table, build_tables
from aoft_bench.results.statistics_table import statistics_grids
from aoft_bench.results.table import Grid
from aoft_bench.results.writers.csv import to_long_csv, to_wide_csv
from aoft_bench.results.writers.latex import to_latex
from aoft_bench.results.writers.markdown import to_html, to_markdown, to_terminal

# every name that `table_files` can give; what it no longer gives is out of date
NAMES = frozenset(
    {"statistics.md", "statistics.csv"}
    | {
        name + end
        for name in ("accuracy", "ablations", "cost", "published")
        for end in (".md", ".tex", ".html", "_wide.csv", "_long.csv")
    }
)
_HEADINGS = {"accuracy": "Accuracy", "ablations": "Settings of one method", "cost": "Cost"}


def table_files(tables: Sequence[Table], published: Published, notes: Sequence[str] = ()) -> dict[str, str]:
    """Name -> text of every file. notes: what stands below the last table of a file, for records left out."""
    grids: Mapping[str, list[Grid]] = {
        "accuracy": [accuracy(table, published.beside(table)) for table in tables],
        "ablations": [grid for table in tables for grid in ablation(table)],
        "cost": [grid for table in tables for grid in cost(table)],
    }
    files: dict[str, str] = {}
    for name, some in grids.items():
        files |= _formats(name, _HEADINGS[name], some, notes)
    files |= _formats("published", "Published results", _published(published), ())
    found = [grid for table in tables for grid in statistics_grids(table)]
    files["statistics.md"] = to_markdown(found, notes) or "No table has two rows to compare.\n"
    files["statistics.csv"] = to_wide_csv(found)
    return files


def _formats(name: str, heading: str, grids: Sequence[Grid], notes: Sequence[str]) -> dict[str, str]:
    """A set of tables in every format; nothing where there are no tables."""
    if not grids:
        return {}
    files = {
        f"{name}.md": to_markdown(grids, notes),
        f"{name}.tex": to_latex(grids, notes),
        f"{name}.html": to_html(heading, grids, notes),
        f"{name}_wide.csv": to_wide_csv(grids),
    }
    long = to_long_csv(grids)
    return files | ({f"{name}_long.csv": long} if long.strip() else {})


def _published(published: Published) -> list[Grid]:
    """Canonical rows, a table for each benchmark and kind of network, VTAB-1k first."""
    benchmarks: dict[Layout, str] = {"vtab1k": "VTAB-1k", "fgvc": "FGVC"}
    grids = []
    for layout, name in benchmarks.items():
        kinds: dict[str, list[PublishedRow]] = {}
        for row in published.rows:
            if row.canonical and row.benchmark == layout:
                kinds.setdefault(row.backbone.split()[0].rstrip(","), []).append(row)
        grids += [published_only(f"Published {name} results of {kind}", rows, layout) for kind, rows in kinds.items()]
    return grids


def markdown(tables: Sequence[Table]) -> str:
    """The accuracy of all tables as Markdown: top-1 in %, mean ± standard deviation over seeds, means, parameters."""
    return to_markdown([accuracy(table) for table in tables])


def text_tables(records: Sequence[Record]) -> str:
    """The same of records, for a terminal."""
    return to_terminal([accuracy(table) for table in build_tables(records)])
