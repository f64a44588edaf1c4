r"""Signs that chains follow another distribution than the one they were given.

Healthy acceptance proves nothing: from uniform starts on the sphere, at h = 0.3, L = 5, a von
Mises-Fisher distribution of concentration 5 shows an acceptance of 70 % and a mean of .29 in place
of .80, since trajectories from the far side gain momentum, outrun the reach and are refused.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..manifolds.base import Manifold
from .metropolis import ACCEPTED, PROJECTION, Kernel
from .records import Ready, Records
from .warmup import MOST, SAFE, Warm


def find_alarms(
    M: Manifold, records: Records, ready: Ready, warm: Warm, rhat: float, *, given: bool
) -> str | None:
    """Everything suspicious, one sentence each, or None; `given`: the reach is the user's."""
    kernel, nan = ready.trajectories.kernel, ready.trajectories.target.nan
    found = [
        _failing(records, kernel),
        _stuck(records),
        _too_fast(records, kernel, warm.reach, given),
        _drift(records),
        _apart(M, rhat, warm.exact, ready.start.weighted),
        None if nan == 0 else f"log_density was NaN at {nan} points, which counts as density 0",
    ]
    return "; ".join(text for text in found if text) or None


def _failing(records: Records, kernel: Kernel) -> str | None:
    """Projection failures, over all, in each tenth of the densities, along each chain."""
    failed = (records.outcome == PROJECTION).to(torch.float64)
    # those of a gradient kernel tell of momenta that outrun the reach; a random walk, refused near
    # the tighter bends in any case, is suspect only where it hardly moves
    limit = 0.05 if kernel.gradient else 0.95
    advice = "shorten the step, raise inner, or start nearer to the bulk of the distribution"

    def above(rate: Tensor, count: Tensor) -> Tensor:
        slack = 3 * (limit * (1 - limit) / count.clamp_min(1)).sqrt()
        return (count >= 50) & (rate > limit + slack)

    everywhere = failed.mean()
    if bool(above(everywhere, failed.new_tensor(failed.numel()))):
        return f"{float(everywhere):.1%} of the transitions failed to return to M: {advice}"
    ends = torch.quantile(_some(records.before), torch.linspace(0, 1, 11, dtype=torch.float32))
    if bool(ends[-1] > ends[0]):
        region = torch.searchsorted(ends[1:-1], records.before.flatten())
        count = torch.bincount(region, minlength=10).to(torch.float64)
        rate = torch.bincount(region, failed.flatten(), 10) / count.clamp_min(1)
        if bool(above(rate, count).any()):
            return (
                f"where the log density is about {float(ends[int(rate.argmax())]):.3g}, "
                f"{float(rate.max()):.1%} of the transitions failed to return to M: {advice}"
            )
    rate = failed.mean(0)
    count = torch.full_like(rate, failed.shape[0])
    # among thousands of chains one exceeds 3 standard errors by chance
    chains = int((above(rate, count) & (rate > 4 * limit)).sum())
    if chains and kernel.gradient:
        return (
            f"along {chains} of {rate.numel()} chains up to {float(rate.max()):.1%} of the "
            f"transitions failed to return to M: {advice}"
        )
    return None


def _stuck(records: Records) -> str | None:
    """Chains that never moved, though others do."""
    accepted = (records.outcome == ACCEPTED).to(torch.float64)
    n, chains = accepted.shape
    never = int((accepted.sum(0) == 0).sum())
    share = float(accepted.mean())
    if never and chains * (1 - share) ** n < 1e-3:
        return f"{never} of {chains} chains never moved: shorten the step"
    if share < 1e-3 or (never == chains and n >= 50):
        return f"hardly any transition was accepted ({share:.2%}): shorten the step"
    return None


def _too_fast(records: Records, kernel: Kernel, reach: float, given: bool) -> str | None:
    """Momenta that take a trajectory past half the reach in one move."""
    if not kernel.gradient:
        return None
    longest = float(torch.quantile(_some(records.longest), MOST))
    if longest > 1.25 * SAFE * reach:
        name = "the reach" if given else "the reach estimated from the starts"
        return (
            f"1 % of the trajectories move by {longest:.2g} or more at once, above half {name}, "
            f"{reach:.2g}: shorten the step or raise inner"
        )
    return None


def _drift(records: Records) -> str | None:
    """Whether the distributions of the first and of the last half of the draws differ."""
    n, chains = records.log_f.shape
    half = n // 2
    if half < 1 or chains < 32:
        return None
    for name, values in (("point", records.x), ("log density", records.log_f.unsqueeze(-1))):
        change = values[-half:].mean(0) - values[:half].mean(0)
        z = change.mean(0) / (change.std(0) / math.sqrt(chains)).clamp_min(1e-300)
        worst = float(z.abs().max())
        if worst > 5 and float(change.mean(0).abs().max()) > 1e-9:
            return (
                f"the mean {name} of the chains still drifts ({worst:.0f} standard errors between "
                "the halves of the run): warm up longer"
            )
    return None


def _apart(M: Manifold, rhat: float, exact: bool, weighted: bool) -> str | None:
    """Chains that have not met, unless their starts carry the weights already."""
    if exact:
        return None
    components = 1 if M.homology is None else max(b[0] for b in M.homology.betti.values())
    if components > 1 and not weighted:
        return (
            f"M has {components} components, which no chain can leave, and the starts carry no "
            "weights: give weights, components with weights, or use replica_exchange"
        )
    if rhat > 1.05:
        return (
            f"R-hat is {rhat:.3g}: the chains have not met; run longer, or give components of the "
            "starts with weights, or use replica_exchange"
        )
    return None


def _some(x: Tensor) -> Tensor:
    """At most 2^20 entries of x, evenly spread."""
    return x.flatten()[:: max(1, -(-x.numel() // 2**20))]
