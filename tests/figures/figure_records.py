"""Records for the tests of figures, and what a drawn figure shows."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record_cases
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from aoft_bench.data.tasks import TASKS
from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.series import FAMILIES, Styles, method_styles, row_styles
from aoft_bench.figures.style import drawing_style
from aoft_bench.results.settings import Comparison, build_comparisons

VTAB = [name for name, task in TASKS.items() if task.suite == "vtab1k"]


def record(top1: float, dataset: str = "cifar100", method: str = "lora", seed: int = 0, **changes: Any) -> Any:
    """A record of three epochs; `changes` are by path, with __ for the dot."""
    defaults: dict[str, Any] = {
        "curves": {"train_loss": [4.0, 2.0, 1.0]},
        "cost": {"train_images_per_second": 100.0, "peak_memory_bytes": 2**30},
        "hardware": {"device": "cpu", "gpu": None, "cpu": "AMD EPYC", "cores": 2, "threads": 1},
        "data__fingerprint": f"fingerprint of {dataset}",
        "config__recipe__epochs": 3,
        "config__method": {"name": method},
    }
    return record_cases.record(top1, dataset, method, seed, **(defaults | changes))


def write(root: Path, records: list[Any]) -> None:
    """Put records where they belong below `root`."""
    for one in records:
        record_cases.write(root, one)


def setting(records: list[Any]) -> tuple[Comparison, Styles]:
    (table,) = build_comparisons(records)
    return table, row_styles(table, method_styles(row.method for row in table.rows))


def drawn(plans: Callable[..., list[Plan]], records: list[Any], *more: Any) -> list[Drawing]:
    """The figures, planned and drawn as if by another process."""
    planned = pickle.dumps(plans(*setting(records), *more))
    assert records[0]["data"]["fingerprint"].encode() not in planned  # records, which are large, stay where they are
    with drawing_style():
        return [plan() for plan in pickle.loads(planned)]


def lines(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    """(x, y) of every named line."""
    return {
        str(line.get_gid()): (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in figure.findobj(Line2D)
        if isinstance(line, Line2D) and line.get_gid()
    }


def bars(figure: Figure, axis: int, panel: int = 0) -> list[float]:
    """Half lengths of the error bars in one panel, in the order they were drawn; axis: 0 of x, 1 of y."""
    found = [c for c in figure.axes[panel].collections if isinstance(c, LineCollection)]
    return [float(np.ptp(segment[:, axis])) / 2 for c in found for segment in c.get_segments()]


def texts(figure: Figure) -> list[Text]:
    """All text that shows; matplotlib also holds labels of ticks beyond the ends of an axis."""
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            beyond |= {id(tick.label1) for tick in ticks if not axes.get_visible() or not low <= tick.get_loc() <= high}
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text() and text.get_visible()]
    return [text for text in found if id(text) not in beyond and (text.axes is None or text.axes.get_visible())]


BOTH = [
    record(60.0, "cifar100", "aoft", 0, parameters__trained=1_000),
    record(62.0, "cifar100", "aoft", 1, parameters__trained=1_000),
    record(80.0, "eurosat", "aoft", 0, parameters__trained=1_000),
    record(90.0, "eurosat", "aoft", 1, parameters__trained=1_000),
    record(50.0, "cifar100", "lora", 0),
    record(53.0, "cifar100", "lora", 1),
    record(70.0, "cifar100", "lora", 2),
    record(82.0, "eurosat", "lora", 0),
    record(81.0, "eurosat", "lora", 1),
    record(40.0, "cifar100", "linear", 0, parameters__trained=0),
    record(50.0, "eurosat", "linear", 0, parameters__trained=0),
]


def ranked(**changes: Any) -> list[Any]:
    """Six tasks on which aoft is always first, lora second, linear third and full last."""
    tops = {"aoft": 80.0, "lora": 70.0, "linear": 60.0, "full": 50.0}
    return [record(top + i, name, method, **changes) for i, name in enumerate(VTAB[:6]) for method, top in tops.items()]


def crowded() -> list[Any]:
    """All methods that have a marker of their own and three that have none, close together, two labels long."""
    methods = [name for members in FAMILIES.values() for name in members] + ["mine", "yours", "theirs"]
    found = [
        record(50.0 + (i * 7 % 23), name, method, parameters__trained=i * 3_000, hardware__threads=None)
        for i, method in enumerate(methods)
        for name in VTAB[:6]
    ]
    options = {"config__method__targets": ["q", "k", "v", "proj", "fc1", "fc2"], "config__method__note": "x" * 90}
    return found + [record(90.0, name, "aoft", **options) for name in VTAB[:6]]
