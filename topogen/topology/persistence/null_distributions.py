r"""The largest noise ratio r = death/birth: Gumbel in its logarithm, through two quantiles.

:math:`P(\max \ln r > t) = 1 - \exp(-e^{-(t - \mu)/b})` has the given median and 99 % quantile.
Simulated tails are lighter than that, so p-values err on the side of noise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

# median and 99 % quantile of the largest noise ratio by intrinsic dimension and degree, for the
# fine and the coarse resolution (degree 0: death / covering radius); benchmarks/topology_null.py
RIPS_NULL: dict[tuple[int, int], tuple[tuple[float, float], tuple[float, float]]] = {
    (1, 0): ((2.23, 2.62), (2.16, 2.51)),
    (1, 1): ((1.31, 1.50), (1.25, 1.53)),
    (2, 0): ((1.85, 2.14), (1.81, 2.05)),
    (2, 1): ((2.10, 2.38), (1.99, 2.30)),
    (2, 2): ((1.18, 1.29), (1.18, 1.26)),
    (3, 0): ((1.57, 1.80), (1.52, 1.70)),
    (3, 1): ((1.58, 1.69), (1.57, 1.68)),
    (3, 2): ((1.35, 1.43), (1.35, 1.41)),
    (3, 3): ((1.10, 1.16), (1.10, 1.16)),
    (4, 0): ((1.40, 1.50), (1.35, 1.45)),
    (4, 1): ((1.45, 1.52), (1.42, 1.50)),
    (4, 2): ((1.28, 1.33), (1.25, 1.29)),
    (4, 3): ((1.18, 1.22), (1.18, 1.21)),
}


def check_alpha(alpha: float) -> None:
    """ValueError where a level is out of the range in which the simulations are trusted."""
    if not 0 < alpha <= 0.1:
        raise ValueError(f"expected 0 < alpha <= 0.1, got {alpha}")


def gumbel_quantile(level: float, median: float, high: float) -> float:
    """What a Gumbel variable with this median and 99 % quantile exceeds at this `level`."""
    mu, b = _location_scale(median, high)
    return mu - b * math.log(-math.log1p(-level))


def _location_scale(median: float, high: float) -> tuple[float, float]:
    at_half, at_99 = (-math.log(-math.log(q)) for q in (0.5, 0.99))  # the standard quantiles
    b = (high - median) / (at_99 - at_half)
    return median - b * at_half, b


class NoiseRatio(NamedTuple):
    """The distribution of the largest ratio death/birth of noise.

    Attributes:
        median: its median.
        high: its 99 % quantile.
    """

    median: float
    high: float

    def cut_off(self, level: float) -> float:
        """The ratio that noise exceeds with probability `level`, in (0, 1)."""
        return math.exp(gumbel_quantile(level, math.log(self.median), math.log(self.high)))

    def p_value(self, ratio: float) -> float:
        """Probability that noise alone gives a ratio at least this large; never below 1e-6."""
        mu, b = _location_scale(math.log(self.median), math.log(self.high))
        p = -math.expm1(-math.exp(-(math.log(max(ratio, 1.0)) - mu) / b))
        return min(1.0, max(1e-6, p))


def rips_noise(dim: int, degree: int, resolution: int = 0) -> NoiseRatio:
    """That of Rips diagrams of farthest-point landmarks.

    Args:
        dim: intrinsic dimension of the cloud.
        degree: 0 to 3; in degree 0 the ratio is death/scale.
        resolution: 0 for the fine landmarks, 1 for the coarse ones.
    """
    return NoiseRatio(*RIPS_NULL[min(max(dim, degree, 1), 4), degree][resolution])
