"""hydra/launcher=basic, the default: one cell after the other in this process."""

from dataclasses import dataclass
from typing import Any

from hydra.core.utils import JobReturn

from aoft_bench.experiments.launchers import checked
from aoft_bench.experiments.launchers.worker import Numbered, Sweep, returned


@dataclass(frozen=True)
class Options:
    """There are none."""


def launch(sweep: Sweep, cells: list[Numbered], options: dict[str, Any]) -> list[JobReturn]:
    """Run the cells. One that cannot be composed is noted as failed, and the others go on."""
    checked(Options, options)
    for cell in cells:
        sweep.run(cell)
    return returned(cells)
