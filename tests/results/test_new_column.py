"""A column that is added to the accuracy table in one place is in every format and on the page."""

from typing import Any

import pytest
from record_cases import record

from aoft_bench.report.page import render
from aoft_bench.results import ablation_table, accuracy_table, published_table
from aoft_bench.results.accuracy_table import AccuracyColumn
from aoft_bench.results.files import table_files, text_tables
from aoft_bench.results.published import PublishedRow
from aoft_bench.results.rows import Row
from aoft_bench.results.settings import build_comparisons
from aoft_bench.results.table import Entry, mean_entry

NAME = "final loss"
PUBLISHED = PublishedRow("ARC", "vtab1k", "ViT-B/16", "a paper", 0.25, {}, {}, 72.5, "mean19")


def final_loss(row: Row) -> Entry:
    """Training loss of the last epoch, mean over the runs of the row."""
    losses = [record["curves"]["train_loss"][-1] for record in row.records]
    return mean_entry(losses, [record["seed"] for record in row.records], records=tuple(row.records))


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Two settings of LoRA, of 12.3 and 45.6, while the column is one more entry of the list of columns."""
    columns = accuracy_table.accuracy_columns

    def one_more(*arguments: Any, **options: Any) -> list[AccuracyColumn]:
        return [*columns(*arguments, **options), AccuracyColumn(NAME, final_loss, ranked=True)]

    for module in (accuracy_table, ablation_table, published_table):
        monkeypatch.setattr(module, "accuracy_columns", one_more)
    losses = {8: 12.3, 4: 45.6}
    return [
        record(60.0 + rank, config__method__rank=rank, curves={"train_loss": [loss]}, hash=f"{rank}")
        for rank, loss in losses.items()
    ]


def test_files_and_terminal(records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    files = table_files(build_comparisons(records), [PUBLISHED])
    expected = {
        ".md": "<u>12.3</u> |",
        ".tex": r"\underline{12.3} \\",
        ".html": "<td><u>12.3</u></td></tr>",
        "_wide.csv": ",12.3\n",
        "_long.csv": f"{NAME},12.3,,1,0,second\n",
    }
    for name in ("accuracy", "ablations"):
        for end, text in expected.items():
            assert NAME in files[name + end] and text in files[name + end], name + end
    assert "| ARC [a] | 0.25 |" in files["accuracy.md"] and files["accuracy.md"].count("| n/a |\n") == 1
    assert f"| {NAME} |" in files["published.md"]
    monkeypatch.setenv("COLUMNS", "400")  # the width of the terminal
    shown = text_tables(records)
    assert NAME in shown and "12.3" in shown and "45.6" in shown


def test_page(records: list[dict[str, Any]]) -> None:
    text = render(records, [], [], [])
    assert f'<th scope="col" class="number data">{NAME}</th>' in text
    assert f'aria-label="LoRA (rank=8), {NAME}: 12.3, second"' in text
    assert f'aria-label="LoRA (rank=4), {NAME}: 45.6, best"' in text
