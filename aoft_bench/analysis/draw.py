"""All figures of an analysis, drawn and saved."""

from pathlib import Path

from aoft_bench.analysis import angle_figures, layer_figures
from aoft_bench.analysis.inputs import MatrixSet
from aoft_bench.analysis.summary import Measurement
from aoft_bench.figures.drawing import Drawing
from aoft_bench.figures.series import method_styles, row_styles
from aoft_bench.figures.style import drawing_style, save
from aoft_bench.results.names import slug
from aoft_bench.results.settings import Comparison


def draw(
    sets: list[MatrixSet], rows: list[Measurement], comparisons: dict[str, Comparison], folder: Path
) -> dict[str, str]:
    """Write every figure into `folder` as PDF and PNG; returns name without the ending -> caption."""
    captions = {}

    def write(prefix: str, drawings: list[Drawing]) -> None:
        for drawing in drawings:
            name = f"{prefix}-{drawing.name}"
            save(drawing.figure, folder / name)
            captions[name] = drawing.caption

    methods = method_styles(row.method for comparison in comparisons.values() for row in comparison.rows)
    with drawing_style():
        for one in (one for one in sets if one.state == "pretrained"):
            mine = [row for row in rows if row["state"] == "pretrained" and row["weights"] == one.weights[:12]]
            drawings = [angle_figures.of_backbone(one), layer_figures.of_backbone(mine)]
            write(f"{slug(one.backbone)}-{one.weights[:6]}", drawings)
        for setting, comparison in comparisons.items():
            styles = row_styles(comparison, methods)
            theirs = [one for one in sets if one.setting == setting]
            mine = [row for row in rows if row["setting"] == setting]
            write(setting, angle_figures.of_methods(theirs, styles) + layer_figures.of_methods(mine, styles))
    return captions
