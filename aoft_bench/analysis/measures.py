r"""What is measured of a matrix: angles between its rows or columns, coherence, distance from orthogonality, norms.

Of m vectors of length n, the rows of V (m, n), with unit vectors U:

    angle of i < j       arccos(u_i . u_j), in degrees
    mutual coherence     max |u_i . u_j|, i < j
    gram_unit            ||U U^T - I||_F, whatever the vectors' lengths: 0 where they are orthogonal
    gram_raw             ||V V^T - I||_F, 0 where they are orthonormal

Vectors of length zero have no angle: they are counted, and left out of all but gram_raw.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aoft_bench.analysis.matrices import Array


@dataclass(frozen=True)
class Measures:
    """The measures of m vectors; those of pairs are None where there is no pair. count, length: m and n; zero: vectors
    of length zero; mean_abs_from_90: mean |90 - angle| in degrees."""

    count: int
    length: int
    zero: int
    pairs: int
    mean_angle: float | None
    mean_abs_from_90: float | None
    std_angle: float | None
    coherence: float | None
    gram_unit: float | None
    gram_raw: float


def cosines(vectors: Array) -> Array:
    """Cosines of all pairs i < j of the rows of (m, n), those of length zero left out: m (m - 1) / 2 at most."""
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors[lengths > 0] / lengths[lengths > 0, None]
    found: Array = (unit @ unit.T)[_above_diagonal(len(unit))]
    return np.clip(found, -1, 1)


@functools.lru_cache(maxsize=8)
def _above_diagonal(size: int) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.triu(np.ones((size, size), dtype=bool), k=1)
    return mask


def angles(vectors: Array) -> Array:
    """The same as angles in degrees, 0 to 180."""
    return np.degrees(np.arccos(cosines(vectors)))


def measure(vectors: Array) -> Measures:
    """`Measures` of the rows of (m, n)."""
    count, length = vectors.shape
    zero = int((np.linalg.norm(vectors, axis=1) == 0).sum())
    raw = float(np.linalg.norm(vectors @ vectors.T - np.eye(count)))
    found = cosines(vectors)
    if not len(found):
        return Measures(count, length, zero, 0, None, None, None, None, None, raw)
    degrees = np.degrees(np.arccos(found))
    return Measures(
        count,
        length,
        zero,
        pairs=len(found),
        mean_angle=float(degrees.mean()),
        mean_abs_from_90=float(np.abs(degrees - 90).mean()),
        std_angle=float(degrees.std()),
        coherence=float(np.abs(found).max()),
        gram_unit=float(np.sqrt(2 * np.square(found).sum())),
        gram_raw=raw,
    )


def spectral_norm(values: Array) -> float:
    """The largest singular value."""
    return float(np.linalg.norm(values, ord=2))
