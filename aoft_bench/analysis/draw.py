"""All figures of an analysis, drawn and saved."""

from pathlib import Path

from aoft_bench.analysis import angle_figures, layer_figures
from aoft_bench.analysis.inputs import Source
from aoft_bench.analysis.summary import Row
from aoft_bench.figures.drawing import Drawing
from aoft_bench.figures.names import slug
from aoft_bench.figures.style import looks_of_methods, looks_of_rows, save, style
from aoft_bench.results.settings import Table


def draw(sources: list[Source], rows: list[Row], tables: dict[str, Table], folder: Path) -> dict[str, str]:
    """Write every figure into `folder` as PDF and PNG; their names without the ending, with their captions."""
    captions = {}
    with style():
        for name, drawing in _drawings(sources, rows, tables):
            save(drawing.figure, folder / name)
            captions[name] = drawing.caption
    return captions


def _drawings(sources: list[Source], rows: list[Row], tables: dict[str, Table]) -> list[tuple[str, Drawing]]:
    named: list[tuple[str, Drawing]] = []
    for source in sources:
        if source.state == "pretrained":
            mine = [row for row in rows if row["state"] == "pretrained" and row["weights"] == source.weights[:12]]
            made = [angle_figures.of_backbone(source), layer_figures.of_backbone(mine)]
            named += [(f"{slug(source.backbone)}-{source.weights[:6]}-{drawing.name}", drawing) for drawing in made]
    methods = looks_of_methods(row.method for table in tables.values() for row in table.rows)
    for setting, table in tables.items():
        looks = looks_of_rows(table, methods)
        theirs = [source for source in sources if source.setting == setting]
        mine = [row for row in rows if row["setting"] == setting]
        made = angle_figures.of_methods(theirs, looks) + layer_figures.of_methods(mine, looks)
        named += [(f"{setting}-{drawing.name}", drawing) for drawing in made]
    return named
