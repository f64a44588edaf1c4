"""Chains on M side by side: the loop, and what comes out of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import TopogenError, UnsupportedError
from ..manifolds.base import Manifold
from .constraint_steps import Mover
from .convergence import find_alarms
from .diagnostics import Diagnostics, diagnose
from .metropolis import ACCEPTED, METROPOLIS, OUTSIDE, PROJECTION, REVERSE, Kernel, Trajectories
from .records import Ready, Records, Request
from .starting_points import starting_points
from .target import LogDensity, Target
from .warmup import SAFE, Warm, estimate_reach, warm_up


class SamplingError(TopogenError, ArithmeticError):
    """Chains raise an alarm, and `throw` was set."""


class Mean(NamedTuple):
    """An expectation, with its standard error from the scatter of the chains."""

    value: Float[Tensor, "*q"]
    error: Float[Tensor, "*q"]


@dataclass(frozen=True)
class ChainResult:
    r"""Draws of many chains on M, and what is known of their worth.

    Attributes:
        samples: points of M, shape (chains, draws, D).
        log_density: the unnormalised log density at them, shape (chains, draws).
        acceptance: share of the transitions that were taken, in retained and thinned draws.
        projection_failures: share refused because a return to M did not converge.
        reverse_failures: share refused because the way back did not end at its start.
        outside: share refused because the domain of validity of M was left.
        metropolis_rejections: share refused by the Metropolis test.
        step: the step h, frozen after warm-up.
        reach: reach of M, given, or estimated from pairs of starting points (from above).
        rhat: the largest rank-normalised split R-hat of the coordinates and the log density;
            within components, where these are known.
        ess_bulk: their smallest bulk effective sample size, over all chains.
        ess_tail: their smallest tail effective sample size.
        chain_acceptance: the share of each chain, shape (chains,).
        swaps: for replica exchange, the acceptance of swaps, that with M first.
        components: the component that each chain started in, where that is known.
        families: the start that each chain descends from, where annealing has resampled them.
        alarm: why the draws may be of another distribution; None where nothing was noticed.
        status: "ok", "alarm", or "uncorrected" for chains without a Metropolis test.
    """

    samples: Float[Tensor, "chains draws D"]
    log_density: Float[Tensor, "chains draws"]
    acceptance: float
    projection_failures: float
    reverse_failures: float
    outside: float
    metropolis_rejections: float
    step: float
    reach: float
    rhat: float
    ess_bulk: float
    ess_tail: float
    chain_acceptance: Float[Tensor, " chains"] = field(repr=False)
    swaps: tuple[float, ...] | None
    components: Int[Tensor, " chains"] | None = field(repr=False)
    families: Int[Tensor, " chains"] | None = field(repr=False)
    alarm: str | None
    status: Literal["ok", "alarm", "uncorrected"]

    @property
    def points(self) -> Float[Tensor, "n D"]:
        """All draws, one a row."""
        return self.samples.flatten(0, 1)

    def diagnose(self, g: Callable[[Tensor], Tensor] | None = None) -> Diagnostics:
        """R-hat and effective sample sizes of g(x), shape (..., q); None takes the coordinates."""
        return diagnose(self.samples if g is None else g(self.samples))

    def mean(self, g: Callable[[Tensor], Tensor]) -> Mean:
        """E g(x), for g from (..., D) to (...) or (..., q); its error, from the scatter of chains.

        Chains of one family, which share a start, count as one.
        """
        per_chain = g(self.samples).to(torch.float64).mean(1)
        n = per_chain.shape[0]
        if n < 2:
            raise UnsupportedError("expected two chains or more for an error, got 1; run more")
        mean = per_chain.mean(0)
        apart = per_chain - mean
        if self.families is not None:
            apart = torch.zeros_like(apart).index_add(0, self.families, apart)
        return Mean(mean, apart.square().sum(0).sqrt() / math.sqrt(n * (n - 1)))

    def __str__(self) -> str:
        chains, draws, _ = self.samples.shape
        why = f": {self.alarm}" if self.alarm else ""
        return (
            f"{chains} chains of {draws} draws, step {self.step:.3g}, reach {self.reach:.3g}\n"
            f"accepted {self.acceptance:.1%}; refused: projection {self.projection_failures:.1%}, "
            f"reverse {self.reverse_failures:.1%}, outside {self.outside:.1%}, "
            f"Metropolis {self.metropolis_rejections:.1%}\nR-hat {self.rhat:.3f}, effective draws "
            f"{self.ess_bulk:.0f} (tails {self.ess_tail:.0f})\n{self.status}{why}"
        )


@torch.no_grad()
def prepare(
    M: Manifold, log_density: LogDensity | None, kernel: Kernel, request: Request
) -> Ready:
    """Chains at their starts, and a first step."""
    if not 0 < M.dim < M.ambient_dim:
        raise UnsupportedError(
            f"expected a manifold with 0 < dim < ambient_dim, got {type(M).__name__} of dimension "
            f"{M.dim} in R^{M.ambient_dim}; it has no tangential, or no normal, direction"
        )
    plan, generator = request.plan, request.generator
    mover = Mover(M, plan.solver)
    start = starting_points(M, plan, generator)
    trajectories = Trajectories(mover, Target(log_density, start.x), kernel)
    at = mover.frames(start.x)
    reach = estimate_reach(mover, at, generator) if plan.reach is None else plan.reach
    step = SAFE * min(reach, M.scale) / math.sqrt(M.dim) if plan.step is None else plan.step
    return Ready(trajectories, start, trajectories.state(at), reach, step)


@torch.no_grad()
def run(
    M: Manifold, log_density: LogDensity | None, kernel: Kernel, request: Request
) -> ChainResult:
    """Start, warm up, run, judge."""
    ready = prepare(M, log_density, kernel, request)
    warm = warm_up(ready, request)
    finite = warm.state.log_f.isfinite()
    if not bool(finite.all()):
        raise ValueError(
            f"expected starts of finite log density, got -inf or NaN at {int((~finite).sum())} of "
            f"{finite.numel()}; give starts where the density is positive"
        )
    ready.trajectories.target.nan = 0
    state, thin = warm.state, request.plan.thin
    records = Records.empty(request, state.at.x.shape[1])
    for i in range(request.n * thin):
        result = ready.trajectories.transition(state, warm.step, request.generator)
        records.note(i, state, result)
        state = result.state
        if (i + 1) % thin == 0:
            records.retain(i // thin, state)
    return judge(M, records, ready, request, warm)


def judge(
    M: Manifold, records: Records, ready: Ready, request: Request, warm: Warm
) -> ChainResult:
    """The result of what was recorded.

    Raises:
        SamplingError: there is an alarm, and `throw` is set.
    """
    samples, log_f, components = records.x.movedim(0, 1), records.log_f.T, ready.start.components
    rhat, bulk, tail = _convergence(samples, log_f, components)
    alarm = find_alarms(M, records, ready, warm, rhat, given=request.plan.reach is not None)
    rate = [float((records.outcome == code).to(torch.float64).mean()) for code in range(5)]
    status = "ok" if alarm is None else "alarm"
    result = ChainResult(
        samples=samples,
        log_density=log_f,
        acceptance=rate[ACCEPTED],
        projection_failures=rate[PROJECTION],
        reverse_failures=rate[REVERSE],
        outside=rate[OUTSIDE],
        metropolis_rejections=rate[METROPOLIS],
        step=warm.step,
        reach=warm.reach,
        rhat=rhat,
        ess_bulk=bulk,
        ess_tail=tail,
        chain_acceptance=(records.outcome == ACCEPTED).to(torch.float64).mean(0),
        swaps=None if records.swaps is None else tuple(records.swaps),
        components=components,
        families=warm.families,
        alarm=alarm,
        status=status if ready.trajectories.kernel.metropolis else "uncorrected",
    )
    if request.throw and result.status == "alarm":
        raise SamplingError(f"{alarm}\n{result}")
    return result


def _convergence(
    samples: Tensor, log_f: Tensor, components: Tensor | None
) -> tuple[float, float, float]:
    """Worst R-hat, bulk and tail effective sample sizes of coordinates and log density."""
    chains, n = log_f.shape
    labels = torch.zeros(chains, dtype=torch.int64) if components is None else components
    statistics = torch.cat([samples, log_f.unsqueeze(-1)], -1)
    worst, bulk, tail = [], 0.0, 0.0
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(-1)
        # of 2^18 draws or less, and every so many chains, so that starts of all parts are seen
        some = members[:: max(1, -(-members.numel() * n // 2**18))]
        found = diagnose(statistics[some])
        varies = ~found.rhat.isnan()
        if not bool(varies.any()):
            return math.nan, math.nan, math.nan
        share = members.numel() / some.numel()
        worst.append(float(found.rhat[varies].max()))
        bulk += share * float(found.ess_bulk[varies].min())
        tail += share * float(found.ess_tail[varies].min())
    return max(worst), bulk, tail
