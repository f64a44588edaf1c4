"""Chains on M side by side: options, the loop, and what comes out of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import TopogenError, UnsupportedError
from ..manifolds.base import Manifold
from .constraint_steps import Mover, NormalSolver
from .convergence import find_alarms
from .diagnostics import Diagnostics, diagnose
from .starting_points import Starts, starting_points
from .target import LogDensity, Target
from .transitions import (
    ACCEPTED,
    METROPOLIS,
    OUTSIDE,
    PROJECTION,
    REVERSE,
    ChainState,
    Kernel,
    Trajectories,
    Transition,
)
from .warmup import SAFE, Warm, estimate_reach, warm_up

_WARMUP = 200
# draws of each statistic that R-hat and ESS are taken from
_DIAGNOSED = 2**18


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
        acceptance: share of the transitions that were taken, in kept and thinned draws.
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
        """E g(x), for g that takes (..., D) to (...) or (..., q), with its standard error.

        The error is that of a mean of independent chains, or of families of chains that share a
        start; it needs no autocorrelation times.
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
        refused = (
            f"projection {self.projection_failures:.1%}, reverse {self.reverse_failures:.1%}, "
            f"outside {self.outside:.1%}, Metropolis {self.metropolis_rejections:.1%}"
        )
        lines = [
            f"{chains} chains of {draws} draws, step {self.step:.3g}, reach {self.reach:.3g}",
            f"accepted {self.acceptance:.1%}; refused: {refused}",
            f"R-hat {self.rhat:.3f}, effective draws {self.ess_bulk:.0f} (tails "
            f"{self.ess_tail:.0f})",
        ]
        return "\n".join([*lines, f"{self.status}" + (f": {self.alarm}" if self.alarm else "")])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What all samplers are told; see :func:`topogen.sampling.mcmc`."""

    n: int
    step: float | None
    chains: int
    start: Any
    weights: Any = None
    components: Any = None
    warmup: int | None
    thin: int
    accept: float
    reach: float | None
    solver: NormalSolver
    throw: bool
    generator: torch.Generator | None
    seed: int | None

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("chains", 1), ("thin", 1), ("warmup", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"expected {name} >= {least}, got {value}")
        for name in ("step", "reach"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"expected {name} > 0, got {value}")
        if not 0 < self.accept < 1:
            raise ValueError(f"expected accept between 0 and 1, got {self.accept}")
        if self.generator is not None and self.seed is not None:
            raise ValueError("expected a generator or a seed, got both")


@dataclass(frozen=True)
class Ready:
    """Chains at their starts: what moves them, the reach, and the source of randomness."""

    trajectories: Trajectories
    start: Starts
    state: ChainState
    reach: float
    step: float
    generator: torch.Generator | None


@torch.no_grad()
def prepare(M: Manifold, log_density: LogDensity | None, kernel: Kernel, plan: Plan) -> Ready:
    """Chains at their starts, and a first step."""
    if not 0 < M.dim < M.ambient_dim:
        raise UnsupportedError(
            f"expected a set with 0 < dim < ambient_dim, got {type(M).__name__} of dimension "
            f"{M.dim} in R^{M.ambient_dim}; it has no tangential, or no normal, direction"
        )
    generator = plan.generator
    if plan.seed is not None:
        generator = torch.Generator().manual_seed(plan.seed)
    mover = Mover(M, plan.solver)
    start = starting_points(M, plan.chains, plan.start, plan.weights, plan.components, generator)
    trajectories = Trajectories(mover, Target(log_density, start.x), kernel)
    at = mover.frames(start.x)
    reach = estimate_reach(mover, at, generator) if plan.reach is None else plan.reach
    step = SAFE * min(reach, M.scale) / math.sqrt(M.dim) if plan.step is None else plan.step
    return Ready(trajectories, start, trajectories.state(at), reach, step, generator)


@torch.no_grad()
def run(M: Manifold, log_density: LogDensity | None, kernel: Kernel, plan: Plan) -> ChainResult:
    """Start, warm up, run, judge."""
    ready = prepare(M, log_density, kernel, plan)
    warm = warm_up(
        ready.trajectories,
        ready.state,
        ready.step,
        iterations=_WARMUP if plan.warmup is None else plan.warmup,
        adapt=plan.step is None,
        target=plan.accept,
        reach=ready.reach,
        fixed_reach=plan.reach is not None,
        uniform=ready.start.uniform,
        given=ready.start.given,
        generator=ready.generator,
    )
    finite = warm.state.log_f.isfinite()
    if not bool(finite.all()):
        raise ValueError(
            f"expected starts of finite log density, got -inf or NaN at {int((~finite).sum())} of "
            f"{plan.chains}; give starts where the density is positive"
        )
    ready.trajectories.target.nan = 0
    records = _record(ready.trajectories, warm.state, warm.step, plan, ready.generator)
    return judge(M, records, ready, plan, warm)


@dataclass(frozen=True)
class Records:
    """What was seen along the chains; draws come first, transitions are draws times `thin`.

    Attributes:
        x: kept points, shape (draws, chains, D).
        log_f: log density at them, (draws, chains).
        before: log density at the start of each transition, (transitions, chains).
        outcome: what became of it, (transitions, chains).
        longest: its longest tangential step, (transitions, chains).
        swaps: acceptance of swaps between replicas.
    """

    x: Tensor
    log_f: Tensor
    before: Tensor
    outcome: Tensor
    longest: Tensor
    swaps: list[float] | None = None

    @classmethod
    def empty(cls, plan: Plan, D: int) -> Records:
        """Room for what a plan asks for."""
        total, chains = plan.n * plan.thin, plan.chains
        kept = torch.empty(plan.n, chains, D, dtype=torch.float64)
        before = torch.empty(total, chains, dtype=torch.float32)
        outcome = torch.empty(total, chains, dtype=torch.uint8)
        return cls(kept, kept.new_empty(plan.n, chains), before, outcome, torch.empty_like(before))

    def note(self, i: int, before: ChainState, result: Transition) -> None:
        """Take in transition i."""
        self.before[i], self.outcome[i] = before.log_f, result.outcome
        self.longest[i] = result.longest

    def keep(self, i: int, state: ChainState) -> None:
        """Take in draw i."""
        self.x[i], self.log_f[i] = state.at.x, state.log_f


def _record(
    trajectories: Trajectories,
    state: ChainState,
    step: float,
    plan: Plan,
    generator: torch.Generator | None,
) -> Records:
    records = Records.empty(plan, state.at.x.shape[1])
    for i in range(plan.n * plan.thin):
        result = trajectories.transition(state, step, generator)
        records.note(i, state, result)
        state = result.state
        if (i + 1) % plan.thin == 0:
            records.keep(i // plan.thin, state)
    return records


def judge(M: Manifold, records: Records, ready: Ready, plan: Plan, warm: Warm) -> ChainResult:
    """The result of what was recorded.

    Raises:
        SamplingError: there is an alarm, and the plan says to throw.
    """
    kernel, start = ready.trajectories.kernel, ready.start
    samples, log_f = records.x.movedim(0, 1), records.log_f.T
    rhat, bulk, tail = _convergence(samples, log_f, start.components)
    alarm = find_alarms(
        M,
        records,
        kernel,
        reach=warm.reach,
        rhat=rhat,
        exact=warm.exact,
        weighted=start.weighted,
        nan=ready.trajectories.target.nan,
        given=plan.reach is not None,
    )
    rate = [float((records.outcome == code).to(torch.float64).mean()) for code in range(5)]
    status = "uncorrected" if not kernel.metropolis else "ok" if alarm is None else "alarm"
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
        components=start.components,
        families=warm.families,
        alarm=alarm,
        status=status,
    )
    if plan.throw and status == "alarm":
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
        # every so many chains, so that starts of all parts are seen
        some = members[:: max(1, -(-members.numel() * n // _DIAGNOSED))]
        found = diagnose(statistics[some])
        varies = ~found.rhat.isnan()
        if not bool(varies.any()):
            return math.nan, math.nan, math.nan
        share = members.numel() / some.numel()
        worst.append(float(found.rhat[varies].max()))
        bulk += share * float(found.ess_bulk[varies].min())
        tail += share * float(found.ess_tail[varies].min())
    return max(worst), bulk, tail
