"""The files of results/tables, as texts by name, and the tables of a sweep on a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aoft_bench.records.schema import Record
from aoft_bench.results.ablation_table import ablation_tables
from aoft_bench.results.accuracy_table import accuracy_table
from aoft_bench.results.cost_table import cost_tables
from aoft_bench.results.fewshot_table import fewshot_tables
from aoft_bench.results.prediction_tables import prediction_tables
from aoft_bench.results.published import PublishedRow, beside, load
from aoft_bench.results.published_table import published_tables
from aoft_bench.results.reproduction import load_targets
from aoft_bench.results.reproduction_table import reproduction_tables
from aoft_bench.results.settings import Comparison, build_comparisons
from aoft_bench.results.statistics_table import statistics_tables
from aoft_bench.results.table import Table
from aoft_bench.results.writers.csv import to_long_csv, to_wide_csv
from aoft_bench.results.writers.html import to_html
from aoft_bench.results.writers.latex import to_latex
from aoft_bench.results.writers.markdown import to_markdown
from aoft_bench.results.writers.terminal import to_terminal

_HEADINGS = {
    "accuracy": "Accuracy",
    "ablations": "Settings of one method",
    "fewshot": "Few-shot",
    "cost": "Cost",
    "published": "Published results",
    "foreign": "With numbers that are not ours",
    "reproduction": "Reproduction of published rows",
    "predictions": "Predictions",
}
# every name that `table_files` can give; a file of another call that is not given any more is out of date
NAMES = frozenset(
    {"statistics.md", "statistics.csv"}
    | {name + end for name in _HEADINGS for end in (".md", ".tex", ".html", "_wide.csv", "_long.csv")}
)


def table_files(
    comparisons: Sequence[Comparison],
    published: Sequence[PublishedRow],
    notes: Sequence[str] = (),
    foreign: Sequence[Table] = (),
    reproduction: Sequence[Table] = (),
) -> dict[str, str]:
    """Name -> text of every file. notes: what stands below the last table of a file, for records left out; foreign:
    tables with numbers of others; reproduction: those of published rows that sweeps aim at."""
    tables: Mapping[str, Sequence[Table]] = {
        "accuracy": [accuracy_table(one, beside(published, one)) for one in comparisons],
        "ablations": _of_each(comparisons, ablation_tables),
        "fewshot": fewshot_tables(comparisons),
        "cost": _of_each(comparisons, cost_tables),
        "published": published_tables(published),
        "foreign": foreign,
        "reproduction": reproduction,
    }
    files: dict[str, str] = {}
    for name, some in tables.items():
        files |= _formats(name, some, () if name == "published" else notes)
    if made := _of_each(comparisons, prediction_tables):
        kept = [f"Left out: {left}." for one in comparisons[:1] for left in one.kept.reasons()]
        files |= _formats("predictions", made, [*notes, *kept])
    found = _of_each(comparisons, statistics_tables)
    files["statistics.md"] = to_markdown(found, notes) or "No table has two rows to compare.\n"
    files["statistics.csv"] = to_wide_csv(found)
    return files


def _of_each(comparisons: Sequence[Comparison], make: Callable[[Comparison], Sequence[Table]]) -> list[Table]:
    """The tables that `make` gives for each comparison; CSV files call their rows as the command line does."""
    return [replace(table, codes=one.codes) for one in comparisons for table in make(one)]


def _formats(name: str, tables: Sequence[Table], notes: Sequence[str]) -> dict[str, str]:
    """Tables in every format; nothing where there are no tables."""
    if not tables:
        return {}
    files = {
        f"{name}.md": to_markdown(tables, notes),
        f"{name}.tex": to_latex(tables, notes),
        f"{name}.html": to_html(_HEADINGS[name], tables, notes),
        f"{name}_wide.csv": to_wide_csv(tables),
    }
    long = to_long_csv(tables)
    return files | ({f"{name}_long.csv": long} if long.strip() else {})


def text_tables(records: Sequence[Record]) -> str:
    """The accuracy of all settings of some records, for a terminal, and the published rows that they aim at."""
    comparisons = build_comparisons(records)
    text = to_terminal([accuracy_table(one) for one in comparisons])
    results = [record["config"].get("results", {}) for record in records]
    aims = {str(one["root"]): one["reproduces"] for one in results if one.get("reproduces")}
    for root, name in aims.items():
        targets = [one for one in load_targets(Path(root), load(Path(root))) if one.called(name)]
        text += to_terminal(reproduction_tables(targets, comparisons)[1:])  # not the overview, which is too wide
    return text
