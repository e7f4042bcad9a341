"""Published rows as the page shows them: one table a benchmark and backbone, as printed, never ranked."""

from dataclasses import dataclass
from pathlib import Path

from aoft_bench.data.tasks import TASKS
from aoft_bench.results.published import PublishedRow, load

BENCHMARKS = {"vtab1k": "VTAB-1k", "fgvc": "FGVC"}
KINDS = {"mean19": "flat mean", "group3": "mean of groups", "none": "", "groups only": ""}


@dataclass(frozen=True)
class PublishedLine:
    """A published row as texts. origin: checkpoint, images and normalisation behind the numbers; remark: what does
    not follow from its cells, and what else a reader must know."""

    label: str
    parameters: str
    cells: list[str]
    mean: str
    origin: list[str]
    source: str
    remark: str


@dataclass(frozen=True)
class PublishedTable:
    """The published rows of one benchmark and backbone."""

    title: str
    columns: list[str]
    lines: list[PublishedLine]


def published_tables(root: Path) -> list[PublishedTable]:
    """The rows to show of `root`/published, or of the checkout where there are none, in order of the files."""
    found: dict[tuple[str, str], list[PublishedRow]] = {}
    for row in load(root).rows:
        if row.canonical:
            found.setdefault((row.benchmark, row.backbone), []).append(row)
    tables = []
    for (benchmark, backbone), rows in sorted(found.items(), key=lambda item: list(BENCHMARKS).index(item[0][0])):
        columns = [name for name, task in TASKS.items() if task.suite == benchmark]
        lines = [_line(row, columns) for row in rows]
        tables.append(PublishedTable(f"{BENCHMARKS[benchmark]}, {backbone}", columns, lines))
    return tables


def _line(row: PublishedRow, columns: list[str]) -> PublishedLine:
    kind = KINDS.get(row.mean_kind, row.mean_kind)
    mean = "-" if row.mean is None else f"{_printed(row.mean)} {kind}".strip()
    groups = [f"{name} {_printed(value)}" for name, value in row.groups.items()]
    remarks = [*row.disagreements, *([row.note] if row.note else []), *(groups if not row.cells else [])]
    return PublishedLine(
        label=row.method,
        parameters="-" if row.params_m is None else f"{row.params_m:g}",
        cells=[_printed(row.cells[name]) if name in row.cells else "-" for name in columns],
        mean=mean,
        origin=[row.checkpoint, row.images, row.normalization],
        source=row.source,
        remark="; ".join(remarks),
    )


def _printed(value: float) -> str:
    text = f"{value:g}"
    return text if "." in text else f"{text}.0"
