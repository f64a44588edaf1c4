r"""What happens before draws are retained: the step is chosen, and the target is approached."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from ..manifolds.curvature import touching_radius
from .constraint_steps import Frames, Mover
from .metropolis import ChainState
from .records import Ready, Request
from .starting_points import systematic

# h max |p| <= reach / 2, the maximum taken over all but 1 % of the trajectories
SAFE = 0.5
MOST = 0.99
# of `scale`: the length of the moves that pair each point with one near it
_NEARBY = 0.1


class DualAveraging:
    r"""Step size such that the mean acceptance probability is `target`.

    Nesterov's dual averaging as in Hoffman and Gelman, "The No-U-turn sampler", 2014, section
    3.2.1, https://jmlr.org/papers/v15/hoffman14a.html; all chains share one step.

    Example:
        >>> adaptation = DualAveraging(1.0, target=0.8)
        >>> for _ in range(500):
        ...     adaptation.update(math.exp(-adaptation.step))  # acceptance falls with the step
        >>> abs(adaptation.final - math.log(1 / 0.8)) < 0.02
        True
    """

    _gamma, _t0, _kappa = 0.05, 10.0, 0.75

    def __init__(self, step: float, target: float) -> None:
        self.target, self.step = target, step
        self.restart()

    def restart(self) -> None:
        """Forget all but the present step."""
        self._mu, self._t, self._sum = math.log(10 * self.step), 0, 0.0
        self._mean = math.log(self.step)

    def update(self, acceptance: float, bound: float = math.inf) -> None:
        """Take in one mean acceptance probability; no step exceeds `bound`."""
        self._t += 1
        weight = 1 / (self._t + self._t0)
        self._sum = (1 - weight) * self._sum + weight * (self.target - acceptance)
        log_step = self._mu - math.sqrt(self._t) / self._gamma * self._sum
        log_step = min(log_step, math.log(bound))
        decay = self._t**-self._kappa
        self._mean = min(decay * log_step + (1 - decay) * self._mean, math.log(bound))
        self.step = math.exp(log_step)

    @property
    def final(self) -> float:
        """The averaged step, for all draws."""
        return math.exp(self._mean)


@dataclass(frozen=True)
class Warm:
    """Where warm-up ended."""

    state: ChainState
    step: float
    reach: float  # estimated anew where it was not given
    exact: bool  # whether the rows are draws of the target, but for the error of resampling
    families: Int[Tensor, " chains"] | None  # the start that each descends from, if resampled


def estimate_reach(mover: Mover, at: Frames, generator: torch.Generator | None) -> float:
    """The reach as pairs of these points, and near them, show it: from above; infinite if flat."""
    n, scale = at.x.shape[0], mover.M.scale
    at = at[torch.linspace(0, n - 1, min(n, 384)).long()]
    noise = torch.randn(at.x.shape, generator=generator, dtype=at.x.dtype)
    near = mover.move(at, _NEARBY * scale / mover.M.dim**0.5 * at.tangential(noise))
    rows = (near.ok & (near.v.norm(dim=-1) > _NEARBY**2 * scale)).nonzero().squeeze(-1)
    x, N = torch.cat([at.x, near.at.x[rows]]), torch.cat([at.N, near.at.N[rows]])
    if rows.numel() == 0 and float((x - x[:1]).abs().max()) <= _NEARBY**2 * scale:
        return math.inf
    # pairs nearer than that say more of rounding than of M
    return touching_radius(x, N, 1e-3 * scale)


def warm_up(ready: Ready, request: Request) -> Warm:
    r"""Run the warm-up transitions; the first half anneals from the uniform distribution to f.

    The exponent beta rises from 0 to 1 in steps that retain 80 % of the rows effectively
    independent under the weights :math:`f(x)^{\Delta \beta}`. Rows that start as uniform draws are
    resampled by these, so components that no chain can leave get their share; others are only
    moved, and not annealed if given by the user without weights. A step that is not given is
    adapted, bounded by the reach; a reach that is not given is lowered to what the chains find.
    """
    trajectories, state, reach = ready.trajectories, ready.state, ready.reach
    uniform, iterations = ready.start.uniform, request.warmup
    adapt, generator = request.plan.step is None, request.generator
    density = trajectories.target
    anneal = density.f is not None and iterations > 1 and (uniform or not ready.start.given)
    ancestors = torch.arange(state.log_f.shape[0])
    adaptation = DualAveraging(ready.step, request.accept)
    longest: list[float] = []
    if anneal:
        density.beta = 0.0
    half = iterations // 2
    for i in range(iterations):
        if i == half and request.plan.reach is None:
            reach = min(reach, estimate_reach(trajectories.mover, state.at, generator))
        if density.beta < 1:
            raw = density.raw(state.at.x)
            density.beta, weights = _anneal(raw, density.beta, last=i >= half)
            if uniform:
                index = systematic(weights, weights.shape[0], generator)
                state, ancestors = state[index], ancestors[index]
            state = trajectories.state(state.at)
            if density.beta == 1 and adapt:
                adaptation.restart()
        result = trajectories.transition(state, adaptation.step, generator)
        state = result.state
        if adapt:
            moved = result.longest / adaptation.step * trajectories.kernel.inner
            longest.append(float(moved.quantile(MOST)))
            bound = reach
            if trajectories.kernel.gradient:
                bound = SAFE * reach * trajectories.kernel.inner / max(longest[-20:])
            adaptation.update(float(result.probability.mean()), bound)
    many = ancestors.unique().numel() >= 0.1 * ancestors.numel()
    exact = uniform and (density.f is None or (anneal and many))
    families = ancestors if uniform and anneal else None
    return Warm(state, adaptation.final if adapt else ready.step, reach, exact, families)


def _anneal(raw: Tensor, beta: float, last: bool) -> tuple[float, Tensor]:
    """The next exponent, and the weights that lead to it."""
    if not bool(raw.isfinite().any()):
        raise ValueError(
            "expected a log_density that is finite somewhere, got -inf or NaN at every start; "
            "give starts where the density is positive"
        )

    def weights(delta: float) -> Tensor:
        return torch.softmax(delta * raw, 0) if delta else (raw > -math.inf).to(raw.dtype)

    def enough(delta: float) -> bool:
        return float(1 / weights(delta).square().sum()) >= 0.8 * positive

    positive = int((raw > -math.inf).sum())
    low, high = 0.0, 1.0 - beta
    if last or enough(high):
        return 1.0, weights(high)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return beta + low, weights(low)
