r"""Estimates of log Z for a log density f on M, from uniform draws of M and draws of the law.

Each takes the values of f at the draws, and :math:`V = H^d(M)`; quadrature is
:class:`~topogen.distributions.energy.EnergyOn`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ...distributions.energy import LogZ

# Gauss-Kronrod (7, 15) on [-1, 1]: nodes, Kronrod weights, and Gauss weights of the odd ones
_NODES = (
    0.0,
    0.207784955007898467600689403773245,
    0.405845151377397166906606412076961,
    0.586087235467691130294144691693013,
    0.741531185599394439863864773280788,
    0.864864423359769072789712788640926,
    0.949107912342758524526189684047851,
    0.991455371120812639206854697526329,
)
_KRONROD = (
    0.209482141084727828012999174891714,
    0.204432940075298892414161999234649,
    0.190350578064785409913256402421014,
    0.169004726639267902826583426598550,
    0.140653259715525918745189590510238,
    0.104790010322250183839876322541518,
    0.063092092629978553290700663189204,
    0.022935322010529224963732008058970,
)
_GAUSS = (
    0.417959183673469387755102040816327,
    0.0,
    0.381830050505118944950369775488975,
    0.0,
    0.279705391489276667901467771423780,
    0.0,
    0.129484966168869693270611432679082,
    0.0,
)


def importance(
    f_uniform: Float[Tensor, " n"], volume: float, *, volume_error: float = 0.0
) -> LogZ:
    r""":math:`\log V + \log \tfrac1n \sum_j e^{f(u_j)}`, u uniform on M.

    The error is the delta method's; it is honest where no few draws carry the sum, and infinite
    where ten effective draws are not reached.

    Args:
        f_uniform: f at independent uniform draws.
        volume: V.
        volume_error: its error.

    Example:
        >>> x = tg.Sphere().sample_uniform(100_000, generator=torch.Generator().manual_seed(0))
        >>> abs(float(importance(5 * x[:, 2], tg.Sphere().volume)) - 5.22839) < 0.03
        True
    """
    f = _finite(f_uniform, "f_uniform")
    w = (f - f.max()).exp()
    mean = float(w.mean())
    spread = float(w.std()) / (mean * math.sqrt(f.numel()))
    effective = float(w.sum() ** 2 / w.square().sum())
    error = spread if effective >= 10 else math.inf
    value = math.log(volume) + float(f.max()) + math.log(mean)
    return LogZ(value, math.hypot(error, volume_error / volume), "importance")


def bridge(
    f_uniform: Float[Tensor, " n"],
    f_law: Float[Tensor, " m"],
    volume: float,
    *,
    volume_error: float = 0.0,
    effective: float | None = None,
) -> LogZ:
    r"""Bridge sampling between the uniform law and the law :math:`p = e^f / Z`.

    With n draws u of the uniform law, m draws x of p, :math:`\ell = f + \log V - \log Z` and a =
    log(m / n), Z solves

    .. math:: \sum_j \sigma(\ell(u_j) + a) = \sum_i \sigma(-\ell(x_i) - a),

    Meng and Wong's optimal bridge; draws of p that depend on one another count as fewer. The
    error is Fruehwirth-Schnatter's relative one.

    Meng and Wong, "Simulating ratios of normalizing constants via a simple identity", 1996,
    https://www3.stat.sinica.edu.tw/statistica/j6n4/j6n43/j6n43.htm; Fruehwirth-Schnatter,
    "Estimating marginal likelihoods for mixture and Markov switching models using bridge sampling
    techniques", 2004, https://doi.org/10.1111/j.1368-423X.2004.00125.x.

    Args:
        f_uniform: f at n independent uniform draws.
        f_law: f at draws of p.
        volume: V.
        volume_error: its error.
        effective: effective number of the draws of p; None means that they are independent.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> u = tg.Sphere().sample_uniform(20_000, generator=g)
        >>> x = tg.VonMisesFisher([0.0, 0.0, 1.0], 5.0).sample((20_000,), generator=g)
        >>> z = bridge(5 * u[:, 2], 5 * x[:, 2], tg.Sphere().volume)
        >>> abs(float(z) - 5.22839) < 4 * z.error < 0.1
        True
    """
    u, p = _finite(f_uniform, "f_uniform"), _finite(f_law, "f_law")
    if not bool(p.isfinite().all()):
        raise ValueError(
            "expected f > -inf at draws of the law, got -inf; they are of another law"
        )
    n, m = float(u.numel()), float(p.numel()) if effective is None else float(effective)
    a = math.log(m / n)
    log_volume = math.log(volume)

    def excess(log_z: float) -> float:
        shift = log_volume - log_z + a
        left = torch.nn.functional.logsigmoid(u + shift).logsumexp(0) - math.log(u.numel())
        right = torch.nn.functional.logsigmoid(-p - shift).logsumexp(0) - math.log(p.numel())
        return float(left - right) - a

    # decreasing in log Z; Z / V lies between the extremes of e^f
    values = torch.cat([u[u.isfinite()], p])
    low, high = float(values.min()) + log_volume - 1, float(values.max()) + log_volume + 1
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    log_z = (low + high) / 2
    shift = log_volume - log_z + a
    g, h = torch.sigmoid(u + shift), torch.sigmoid(-p - shift)
    square = float(g.var() / g.mean() ** 2) / n + float(h.var() / h.mean() ** 2) / m
    return LogZ(log_z, math.hypot(math.sqrt(square), volume_error / volume), "bridge")


def thermodynamic(
    mean_f: Callable[[float], tuple[float, float]], volume: float, *, volume_error: float = 0.0
) -> LogZ:
    r""":math:`\log V + \int_0^1 \mathrm{E}_{p_t}[f]\, dt` with :math:`p_t \propto e^{t f}`.

    Gauss-Kronrod (7, 15); the difference of the two rules is added to the statistical error.

    Gelman and Meng, "Simulating normalizing constants: from importance sampling to bridge sampling
    to path sampling", 1998, https://doi.org/10.1214/ss/1028905934.

    Args:
        mean_f: t to the mean of f under p_t, and its standard error.
        volume: V.
        volume_error: its error.

    Example:
        >>> coth = lambda t: 5 / math.tanh(5 * t) - 1 / t  # E[5 z] for concentration 5 t on S^2
        >>> print(thermodynamic(lambda t: (coth(t), 0.0), 4 * math.pi))
        5.22839 +- 1.1e-07 (thermodynamic)
    """
    kronrod = gauss = variance = 0.0
    for node, weight, coarse in zip(_NODES, _KRONROD, _GAUSS, strict=True):
        for t in {(1 - node) / 2, (1 + node) / 2}:
            mean, error = mean_f(t)
            kronrod += weight / 2 * mean
            gauss += coarse / 2 * mean
            variance += (weight / 2 * error) ** 2
    # the coarser rule's own noise is not a difference of the rules
    error = math.hypot(math.sqrt(variance), volume_error / volume)
    error += max(abs(kronrod - gauss) - 4 * math.sqrt(variance), 0.0)
    return LogZ(math.log(volume) + kronrod, error, "thermodynamic")


def _finite(f: Tensor, name: str) -> Tensor:
    """F in float64, or a ValueError for NaN, +inf, or fewer than two values."""
    f = f.detach().to(torch.float64).flatten()
    if f.numel() < 2 or bool(f.isnan().any()) or bool((f == math.inf).any()):
        raise ValueError(
            f"expected two or more values of {name} below infinity, got {f.numel()} with NaN or "
            "inf; check the log density"
        )
    if not bool((f > -math.inf).any()):
        raise ValueError(f"expected {name} to be finite somewhere, got -inf at every draw")
    return f
