r"""The reference: vectors whose entries are independent and normally distributed, of the same number and length.

The angle of two such vectors of length n has the density

.. math:: f(\theta) = \frac{\Gamma(n/2)}{\sqrt\pi\,\Gamma((n-1)/2)} \sin^{n-2}\theta, \qquad 0 < \theta < \pi,

with mean 90 degrees and, for large n, standard deviation (180 / pi) / sqrt(n): 2.07 degrees at n = 768, 4.1 at 192. So
angles near 90 degrees are what randomness gives to long vectors; only what is nearer than this is orthogonality.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from aoft_bench.analysis.matrices import Array
from aoft_bench.analysis.measures import cosines, spectral_norm

DRAWS = 3  # of a Gaussian matrix, for what has no formula


@dataclass(frozen=True)
class Reference:
    """What Gaussian vectors have, on average, by the names of `Measures`; None where there is no pair.

    gram_unit and gram_raw are root mean squares, of entries N(0, 1/n); coherence is the mean of `DRAWS` seeded draws.
    """

    mean_abs_from_90: float | None
    std_angle: float | None
    coherence: float | None
    gram_unit: float | None
    gram_raw: float


def density(length: int, degrees: Array) -> Array:
    """f above, per degree, for vectors of length n >= 2."""
    log_constant = math.lgamma(length / 2) - math.lgamma((length - 1) / 2) - 0.5 * math.log(math.pi)
    sine: Array = np.sin(np.radians(degrees))
    return math.exp(log_constant) * sine ** (length - 2) * (math.pi / 180)


@functools.lru_cache(maxsize=256)
def reference(count: int, length: int) -> Reference:
    """`Reference` of m vectors of length n."""
    raw = math.sqrt(count * (count + 1) / length)
    if count < 2:
        return Reference(None, None, None, None, raw)
    mean_abs, std = _moments(length)
    coherence = np.mean([np.abs(cosines(_draw(count, length, k))).max() for k in range(DRAWS)])
    return Reference(mean_abs, std, float(coherence), math.sqrt(count * (count - 1) / length), raw)


@functools.lru_cache(maxsize=256)
def spectral_ratio(inputs: int, outputs: int) -> float:
    """Spectral norm over Frobenius norm of a Gaussian matrix (in, out), the mean of `DRAWS` seeded draws."""
    drawn = [_draw(inputs, outputs, k) for k in range(DRAWS)]
    return float(np.mean([spectral_norm(values) / np.linalg.norm(values) for values in drawn]))


def _draw(rows: int, columns: int, number: int) -> Array:
    return np.random.default_rng([rows, columns, number]).standard_normal((rows, columns))


def _moments(length: int) -> tuple[float, float]:
    """(mean |90 - angle|, standard deviation) in degrees, by the midpoint rule; numbers are at 0 or 180 degrees."""
    if length == 1:
        return 90.0, 90.0
    step = 0.01
    degrees = np.arange(step / 2, 180, step)
    weights = density(length, degrees) * step
    off = np.abs(degrees - 90)
    return float(weights @ off), math.sqrt(float(weights @ off**2))
