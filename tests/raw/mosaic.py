"""Pictures of random coloured squares: no two alike, and small once compressed."""

import numpy as np


def mosaics(rng: np.random.Generator, count: int, side: int, channels: int, cell: int) -> np.ndarray:
    """Pictures (count, side, side, channels) uint8 of squares `cell` pixels wide; `cell` divides `side`."""
    grid = rng.integers(0, 256, (count, side // cell, side // cell, channels), dtype=np.uint8)
    return grid.repeat(cell, axis=1).repeat(cell, axis=2)
