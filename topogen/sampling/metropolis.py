r"""One transition of a chain: a trajectory on M, taken or refused as a whole.

It is that of :func:`topogen.sampling.constrained_hmc`; with L = N = 1 it is the Langevin step, and
without the gradient the tangent random walk, whose acceptance probability is that of H too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .constraint_steps import Frames, Mover
from .target import Target

ACCEPTED, PROJECTION, REVERSE, OUTSIDE, METROPOLIS = range(5)


@dataclass(frozen=True)
class Kernel:
    """What a trajectory is made of."""

    steps: int = 1  # L
    inner: int = 1  # N, the moves along M in one step
    gradient: bool = False  # whether momenta feel log f
    jitter: float = 0.0  # steps are drawn from h times U(1 - jitter, 1 + jitter), for each row
    metropolis: bool = True  # False accepts every trajectory that stays on M
    drift: float | None = None  # the gradient's share of a step; None takes h^2 / 2
    clip: float | None = None  # bound on the entries of the gradient


@dataclass(frozen=True)
class ChainState:
    """Rows of chains: points with frames, log f, and its gradient where a kernel wants it."""

    at: Frames
    log_f: Float[Tensor, " n"]
    gradient: Float[Tensor, "n D"] | None

    def __getitem__(self, rows: Tensor) -> ChainState:
        g = self.gradient
        return ChainState(self.at[rows], self.log_f[rows], None if g is None else g[rows])

    def put(self, rows: Int[Tensor, " m"], other: ChainState) -> ChainState:
        """These, with the given rows replaced."""
        g, h = self.gradient, other.gradient
        g = None if g is None or h is None else g.index_copy(0, rows, h)
        log_f = self.log_f.index_copy(0, rows, other.log_f)
        return ChainState(self.at.put(rows, other.at), log_f, g)


@dataclass(frozen=True)
class Transition:
    """What became of each row."""

    state: ChainState
    outcome: Int[Tensor, " n"]  # ACCEPTED, or why it was not
    probability: Float[Tensor, " n"]  # of acceptance; 0 where a move failed
    longest: Float[Tensor, " n"]  # the longest tangential step of its trajectory


class Trajectories:
    """Trajectories of one kernel on one M for one target."""

    def __init__(self, mover: Mover, target: Target, kernel: Kernel) -> None:
        self.mover, self.target, self.kernel = mover, target, kernel

    def state(self, at: Frames) -> ChainState:
        """The state of chains at the given points."""
        if not self.kernel.gradient:
            return ChainState(at, self.target.value(at.x), None)
        log_f, g = self.target.value_and_gradient(at.x)
        if self.kernel.clip is not None:
            g = g.clamp(-self.kernel.clip, self.kernel.clip)
        return ChainState(at, log_f, at.tangential(g))

    def _kick(self, state: ChainState, p: Tensor, h: Tensor) -> Tensor:
        if state.gradient is None:
            return p
        drift = self.kernel.drift
        return p + (h / 2 if drift is None else drift / h) * state.gradient

    def transition(
        self, state: ChainState, h: float, generator: torch.Generator | None
    ) -> Transition:
        """One transition of every row, with step h."""
        kernel = self.kernel
        x = state.at.x
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        p = state.at.tangential(noise.to(x.device))
        size = torch.full_like(x[:, :1], h)
        if kernel.jitter:
            u = torch.rand(size.shape, generator=generator, dtype=x.dtype)
            size = size * (1 + kernel.jitter * (2 * u - 1)).to(x.device)
        u = torch.rand(x.shape[:1], generator=generator, dtype=x.dtype).to(x.device)

        end, q, outcome, longest = self.integrate(state, p, size)
        probability = (outcome == ACCEPTED).to(x.dtype)
        if kernel.metropolis:
            drop = end.log_f - state.log_f + (p.square() - q.square()).sum(-1) / 2
            probability = torch.where(outcome == ACCEPTED, drop.exp().clamp_max(1.0), 0.0)
            # 0 density at both ends: -inf + inf
            probability = probability.nan_to_num(nan=0.0)
        refused = (outcome == ACCEPTED) & (u >= probability)
        outcome = torch.where(refused, METROPOLIS, outcome)
        rows = (outcome == ACCEPTED).nonzero().squeeze(-1)
        if rows.numel() < outcome.numel():
            end = state.put(rows, end[rows])
        return Transition(end, outcome, probability, longest)

    def integrate(
        self, state: ChainState, p: Float[Tensor, "n D"], h: Float[Tensor, "n 1"]
    ) -> tuple[ChainState, Float[Tensor, "n D"], Int[Tensor, " n"], Float[Tensor, " n"]]:
        """The trajectory from (x, p): its end, if it has one, why it stopped, its longest move."""
        end, q, rows = state, p, torch.arange(p.shape[0], device=p.device)
        outcome, longest = torch.full_like(rows, ACCEPTED), torch.zeros_like(p[:, 0])
        for _ in range(self.kernel.steps):
            p = self._kick(state, p, h)
            for _ in range(self.kernel.inner):
                v = p * (h / self.kernel.inner)
                longest[rows] = torch.maximum(longest[rows], v.norm(dim=-1))
                move = self.mover.move(state.at, v)
                state, p = replace(state, at=move.at), move.v / (h / self.kernel.inner)
                ok = move.ok
                if not bool(ok.all()):
                    reason = torch.where(move.inside, REVERSE, OUTSIDE)
                    reason = torch.where(move.arrived, reason, PROJECTION)
                    outcome[rows[~ok]] = reason[~ok]
                    rows, state, p, h = rows[ok], state[ok], p[ok], h[ok]
                    if rows.numel() == 0:
                        return end, q, outcome, longest
            state = self.state(state.at)
            p = self._kick(state, p, h)
        if rows.numel() == q.shape[0]:
            return state, p, outcome, longest
        return end.put(rows, state), q.index_copy(0, rows, p), outcome, longest
