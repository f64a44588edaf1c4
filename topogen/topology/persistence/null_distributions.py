r"""The distribution of the largest noise ratio death/birth: Gumbel in its logarithm, through two quantiles.

.. math:: P(\max \ln r > t) = 1 - \exp(-e^{-(t - \mu)/b}),

with mu and b such that the median and the 99 % quantile are the ones given. Simulated tails are
lighter than that, so p-values err on the side of noise.
"""

from __future__ import annotations

import math

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
_LN2, _LN99 = -math.log(math.log(2.0)), -math.log(-math.log(0.99))


def check_alpha(alpha: float) -> None:
    """ValueError where a level is out of the range in which the simulated distributions are trusted."""
    if not 0 < alpha <= 0.1:
        raise ValueError(f"expected 0 < alpha <= 0.1, got {alpha}")


def _location_scale(median: float, high: float) -> tuple[float, float]:
    """Mu and b of the Gumbel distribution with this median and 99 % quantile."""
    b = (high - median) / (_LN99 - _LN2)
    return median - b * _LN2, b


def gumbel_quantile(level: float, median: float, high: float) -> float:
    """What a Gumbel distribution with this median and 99 % quantile exceeds with probability `level`."""
    mu, b = _location_scale(median, high)
    return mu - b * math.log(-math.log1p(-level))


def gumbel_p_value(ratio: float, median: float, high: float) -> float:
    """Probability that noise alone gives a ratio at least this large; never below 1e-6.

    Args:
        ratio: death/birth.
        median: median of the largest noise ratio.
        high: its 99 % quantile.
    """
    mu, b = _location_scale(math.log(median), math.log(high))
    p = -math.expm1(-math.exp(-(math.log(max(ratio, 1.0)) - mu) / b))
    return min(1.0, max(1e-6, p))


def gumbel_cut_off(level: float, median: float, high: float) -> float:
    """The ratio that noise exceeds with probability `level`; arguments as in `gumbel_p_value`."""
    return math.exp(gumbel_quantile(level, math.log(median), math.log(high)))


def cut_off(level: float, dim: int, degree: int, resolution: int = 0) -> float:
    """The ratio in a Rips diagram of landmarks that noise exceeds with probability `level`.

    Args:
        level: in (0, 1), for this degree.
        dim: intrinsic dimension of the cloud.
        degree: 0 to 3; in degree 0 the ratio is death/scale.
        resolution: 0 for the fine landmarks, 1 for the coarse ones.
    """
    return gumbel_cut_off(level, *_rips_quantiles(dim, degree, resolution))


def p_value(ratio: float, dim: int, degree: int, resolution: int = 0) -> float:
    """Probability that noise alone gives a ratio at least this large; arguments as `cut_off`."""
    return gumbel_p_value(ratio, *_rips_quantiles(dim, degree, resolution))


def _rips_quantiles(dim: int, degree: int, resolution: int) -> tuple[float, float]:
    return RIPS_NULL[min(max(dim, degree, 1), 4), degree][resolution]
