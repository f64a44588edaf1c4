r"""The law of the largest noise ratio death/birth: Gumbel in its logarithm, through two quantiles.

.. math:: P(\max \ln r > t) = 1 - \exp(-e^{-(t - \mu)/b}),

with mu and b such that the median and the 99 % quantile are the ones given. Simulated tails are
lighter than that, so p-values err on the side of noise.
"""

from __future__ import annotations

import math

_LN2, _LN99 = -math.log(math.log(2.0)), -math.log(-math.log(0.99))


def _location_scale(median: float, high: float) -> tuple[float, float]:
    """Mu and b of the log ratio."""
    b = (math.log(high) - math.log(median)) / (_LN99 - _LN2)
    return math.log(median) - b * _LN2, b


def gumbel_p_value(ratio: float, median: float, high: float) -> float:
    """Probability that noise alone gives a ratio at least this large; never below 1e-6.

    Args:
        ratio: death/birth.
        median: median of the largest noise ratio.
        high: its 99 % quantile.
    """
    mu, b = _location_scale(median, high)
    p = -math.expm1(-math.exp(-(math.log(max(ratio, 1.0)) - mu) / b))
    return min(1.0, max(1e-6, p))


def gumbel_cut_off(level: float, median: float, high: float) -> float:
    """The ratio that noise exceeds with probability `level`; arguments as in `gumbel_p_value`."""
    mu, b = _location_scale(median, high)
    return math.exp(mu - b * math.log(-math.log1p(-level)))
