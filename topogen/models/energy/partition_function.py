"""Estimates of log Z for f on M from its values at uniform draws, and at draws of e^f / Z."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ...distributions.energy import LogZ

# Gauss-Kronrod (3, 7) on [-1, 1]: nodes, Kronrod weights, Gauss weights
_NODES = (0.0, 0.43424374934680256, 0.7745966692414834, 0.9604912687080203)
_KRONROD = (0.45091653865847414, 0.40139741477596222, 0.26848808986833344, 0.10465622602646727)
_GAUSS = (8 / 9, 0.0, 5 / 9, 0.0)

Method = Literal["bridge", "importance", "thermodynamic"]


class Draws(NamedTuple):
    """Values of f at draws of a distribution, and how many independent draws they are worth."""

    f: Float[Tensor, " n"]
    effective: float


# t and a number of draws, to f at draws of the distribution of density e^(t f), up to a factor
Sampler = Callable[[float, int], Draws]


def estimate(
    sampler: Sampler, volume: float, method: Method = "bridge", *, volume_error: float = 0.0
) -> LogZ:
    """Log Z from a sampler of all distributions between the uniform one (t = 0) and p (t = 1).

    Args:
        sampler: t in [0, 1] and a number of draws, to f at them.
        volume: V.
        method: one of the estimates below.
        volume_error: the error of V.
    """
    if method == "thermodynamic":

        def mean_f(t: float) -> tuple[float, float]:
            f, effective = sampler(t, 6000)
            return float(f.mean()), float(f.std()) / math.sqrt(effective)

        return thermodynamic(mean_f, volume, volume_error=volume_error)
    u = sampler(0.0, 10_000)
    if method == "importance":
        return importance(u.f, volume, volume_error=volume_error, effective=u.effective)
    if method != "bridge":
        raise ValueError(
            f"expected method 'bridge', 'importance' or 'thermodynamic', got {method!r}"
        )
    p = sampler(1.0, 10_000)
    worth = (u.effective, p.effective)
    return bridge(u.f, p.f, volume, volume_error=volume_error, effective=worth)


def importance(
    f_uniform: Float[Tensor, " n"],
    volume: float,
    *,
    volume_error: float = 0.0,
    effective: float | None = None,
) -> LogZ:
    r""":math:`\log V + \log \tfrac1n \sum_j e^{f(u_j)}`, u uniform on M.

    The error is the delta method's, infinite where the sum has fewer than ten effective terms.

    Args:
        f_uniform: f at uniform draws.
        volume: V.
        volume_error: its error.
        effective: how many independent draws they are worth; None means all.

    Example:
        >>> x = tg.Sphere().sample_uniform(100_000, generator=torch.Generator().manual_seed(0))
        >>> abs(float(importance(5 * x[:, 2], tg.Sphere().volume)) - 5.22839) < 0.03
        True
    """
    f = _finite(f_uniform, "f_uniform")
    w = (f - f.max()).exp()
    mean = float(w.mean())
    n = float(f.numel()) if effective is None else effective
    few = float(w.sum() ** 2 / w.square().sum()) * n / f.numel() < 10
    error = math.inf if few else float(w.std()) / (mean * math.sqrt(n))
    value = math.log(volume) + float(f.max()) + math.log(mean)
    return LogZ(value, math.hypot(error, volume_error / volume), "importance")


def bridge(
    f_uniform: Float[Tensor, " n"],
    f_distribution: Float[Tensor, " m"],
    volume: float,
    *,
    volume_error: float = 0.0,
    effective: tuple[float, float] | None = None,
) -> LogZ:
    r"""Bridge sampling between the uniform distribution and the distribution :math:`p = e^f / Z`.

    With n uniform draws u, m draws x of p, :math:`\ell = f + \log V - \log Z`, a = log(m / n),
    Z solves

    .. math:: \sum_j \sigma(\ell(u_j) + a) = \sum_i \sigma(-\ell(x_i) - a),

    Meng and Wong's optimal bridge; the error is Fruehwirth-Schnatter's relative one.

    Meng and Wong, "Simulating ratios of normalizing constants via a simple identity", 1996,
    https://www3.stat.sinica.edu.tw/statistica/j6n4/j6n43/j6n43.htm; Fruehwirth-Schnatter,
    "Estimating marginal likelihoods for mixture and Markov switching models using bridge sampling
    techniques", 2004, https://doi.org/10.1111/j.1368-423X.2004.00125.x.

    Args:
        f_uniform: f at uniform draws.
        f_distribution: f at draws of p.
        volume: V.
        volume_error: its error.
        effective: how many independent draws either are worth; None means all.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> u = tg.Sphere().sample_uniform(20_000, generator=g)
        >>> x = tg.VonMisesFisher([0.0, 0.0, 1.0], 5.0).sample((20_000,), generator=g)
        >>> z = bridge(5 * u[:, 2], 5 * x[:, 2], tg.Sphere().volume)
        >>> abs(float(z) - 5.22839) < 4 * z.error < 0.1
        True
    """
    u, p = _finite(f_uniform, "f_uniform"), _finite(f_distribution, "f_distribution")
    if not bool(p.isfinite().all()):
        raise ValueError(
            "expected f > -inf at draws of the distribution, got -inf; these are draws of another "
            "distribution"
        )
    n, m = effective or (float(u.numel()), float(p.numel()))
    a, log_volume = math.log(m / n), math.log(volume)

    def excess(log_z: float) -> float:
        shift = log_volume - log_z + a
        left = functional.logsigmoid(u + shift).logsumexp(0) - math.log(u.numel())
        right = functional.logsigmoid(-p - shift).logsumexp(0) - math.log(p.numel())
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

    Gauss-Kronrod (3, 7); the difference of the two rules is added to the statistical error.

    Gelman and Meng, "Simulating normalizing constants: from importance sampling to bridge sampling
    to path sampling", 1998, https://doi.org/10.1214/ss/1028905934.

    Args:
        mean_f: t to the mean of f under p_t, and its standard error.
        volume: V.
        volume_error: its error.

    Example:
        >>> coth = lambda t: 5 / math.tanh(5 * t) - 1 / t  # E[5 z] for concentration 5 t on S^2
        >>> print(thermodynamic(lambda t: (coth(t), 0.0), 4 * math.pi))
        5.22839 +- 2.1e-03 (thermodynamic)
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
