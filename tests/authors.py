"""Numbers of the authors' public code: tests/methods/fixtures/NAME.npz, made by running it beside ours, outside."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FIXTURES = Path(__file__).parent / "methods" / "fixtures"


def of_authors(name: str) -> dict[str, Tensor]:
    """Inputs, parameters, outputs and gradients (``grad_...``) by name, in float64."""
    with np.load(FIXTURES / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
