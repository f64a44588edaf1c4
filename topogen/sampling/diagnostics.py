r"""Have the chains mixed, and how many independent draws are they worth?

Rank-normalised split R-hat and effective sample sizes of Vehtari, Gelman, Simpson, Carpenter and
Bürkner, "Rank-normalization, folding, and localization: an improved R-hat", 2021,
https://doi.org/10.1214/20-BA1221, for all statistics at once: x has shape (chains, draws, q).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InvalidPoints

_TAIL = 0.05


@dataclass(frozen=True)
class Diagnostics:
    r"""What the draws of several chains say of their convergence, for each of q statistics.

    Attributes:
        rhat: the larger of the rank-normalised split R-hat of x and that of |x - median x|; 1
            where the chains agree; NaN where all draws are equal, or there are fewer than 4.
        ess_bulk: effective sample size of the ranks, over all chains; NaN where R-hat is.
        ess_tail: the smaller effective sample size of the indicators of the 5 % and 95 % tails.

    Example:
        >>> x = torch.randn(4, 500, 1, generator=torch.Generator().manual_seed(0))
        >>> d = diagnose(x)
        >>> bool(d.rhat < 1.01), bool((d.ess_bulk > 1500) & (d.ess_tail > 1500))
        (True, True)
    """

    rhat: Float[Tensor, " q"]
    ess_bulk: Float[Tensor, " q"]
    ess_tail: Float[Tensor, " q"]


def diagnose(x: Float[Tensor, "chains draws q"]) -> Diagnostics:
    """R-hat, bulk and tail effective sample sizes of q statistics, in float64.

    Raises:
        InvalidPoints: x is not of shape (chains, draws, q).
    """
    if x.ndim != 3:
        raise InvalidPoints(
            f"expected statistics of shape (chains, draws, q), got {tuple(x.shape)}; "
            "keep the last axis for a single statistic"
        )
    if x.shape[1] < 4 or x.shape[0] == 0:
        nan = x.new_full(x.shape[-1:], math.nan, dtype=torch.float64)
        return Diagnostics(nan, nan, nan)
    half = x.shape[1] // 2
    x = x.detach().to(torch.float64)
    x = torch.cat([x[:, :half], x[:, -half:]]).movedim(-1, 0).contiguous()
    ordered = x.flatten(1).sort(-1).values
    m = ordered.shape[-1]
    folded = (x - ordered[:, (m - 1) // 2, None, None]).abs()
    scores = _normal_scores(x, ordered)
    worst = torch.maximum(_rhat(scores), _rhat(_normal_scores(folded)))
    ends = (ordered[:, int(q * (m - 1)), None, None] for q in (_TAIL, 1 - _TAIL))
    tails = torch.stack([_effective((x <= end).to(x.dtype)) for end in ends])
    return Diagnostics(worst, _effective(scores), tails.amin(0))


def _normal_scores(x: Float[Tensor, "q chains draws"], ordered: Tensor | None = None) -> Tensor:
    """Normal quantiles of the average ranks, over all draws of a statistic; NaN stays."""
    flat = x.flatten(1)
    ordered = flat.sort(-1).values if ordered is None else ordered
    below, upto = (torch.searchsorted(ordered, flat, right=right) for right in (False, True))
    rank = (below + upto + 1).to(x.dtype) / 2
    z = torch.special.ndtri((rank - 0.375) / (flat.shape[-1] + 0.25))
    bad = ~flat.isfinite().all(-1, keepdim=True)
    return torch.where(bad, math.nan, z).reshape(x.shape)


def _rhat(x: Float[Tensor, "q chains draws"]) -> Float[Tensor, " q"]:
    r""":math:`\sqrt{((n - 1) W / n + B / n) / W}`, W within and B / n between the chains."""
    n = x.shape[-1]
    W = x.var(-1).mean(-1)
    return ((n - 1) / n + x.mean(-1).var(-1) / W).sqrt()


def _effective(x: Float[Tensor, "q chains draws"]) -> Float[Tensor, " q"]:
    r""":math:`chains \cdot draws / (1 + 2 \sum_t \rho_t)` by Geyer's initial monotone sequence."""
    _, chains, n = x.shape
    spectrum = torch.fft.rfft(x - x.mean(-1, keepdim=True), 2 * n)
    gamma = torch.fft.irfft(spectrum.abs().square().mean(1), 2 * n)[:, :n] / n
    W = gamma[:, 0] * n / (n - 1)
    total = W * (n - 1) / n + x.mean(-1).var(-1)
    rho = 1 - (W.unsqueeze(-1) - gamma) / total.unsqueeze(-1)
    rho[:, 0] = 1.0
    even, odd = rho[:, 0 : n - 1 : 2], rho[:, 1:n:2]
    pairs = even + odd
    positive = (pairs > 0).to(torch.int8).cummin(-1).values.to(torch.bool)
    tau = 2 * torch.where(positive, pairs.cummin(-1).values, 0.0).sum(-1) - 1
    # the first even lag that was cut still counts, which matters for antithetic chains
    cut = positive.sum(-1, keepdim=True).clamp_max(even.shape[-1] - 1)
    tau = tau + even.gather(-1, cut).squeeze(-1).clamp_min(0.0)
    # draws that are all equal, or not finite, say nothing
    tau = torch.where(total > 0, tau, math.nan)
    return chains * n / tau.clamp_min(1 / math.log10(max(chains * n, 10)))
