"""How chains are run, what they are when they start, and what is seen along them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from .constraint_steps import NormalSolver
from .metropolis import ChainState, Trajectories, Transition


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """How chains on M are started, warmed up and run: the same for all samplers.

    Attributes:
        chains: how many; all are rows of one batch, which never affect one another.
        start: points near M, shape (m, D); they are projected. None takes uniform draws where M
            has an exact sampler, else points all over M that are found by projection.
        weights: without `components`, one for each start, such that they stand for the uniform
            distribution of M (a tube or ray sample) and are resampled on the way to f. With
            `components`, the mass of each under the distribution aimed at, in the order of labels.
        components: labels of the components of M that the starts lie in, which no chain leaves;
            R-hat is then taken within components.
        warmup: transitions before draws are retained; None takes 200, and 500 for replica
            exchange. Starts not given, or given with weights, are annealed from the uniform
            distribution to f in its first half.
        thin: transitions for one retained draw.
        step: h; None adapts it in warm-up to the acceptance `accept`, bounded by the reach.
        accept: mean acceptance probability to adapt to; None takes .6 for random walks, .75 for
            Langevin steps and .9 for Hamiltonian trajectories.
        reach: of M; None estimates it from pairs of starts, from above.
        solver: tolerances and budget of the return to M.
    """

    chains: int = 256
    start: Any = None
    weights: Any = None
    components: Any = None
    warmup: int | None = None
    thin: int = 1
    step: float | None = None
    accept: float | None = None
    reach: float | None = None
    solver: NormalSolver = field(default_factory=NormalSolver)

    def __post_init__(self) -> None:
        for name, least in (("chains", 1), ("thin", 1), ("warmup", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"expected {name} >= {least}, got {value}")
        for name in ("step", "reach"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"expected {name} > 0, got {value}")
        if self.accept is not None and not 0 < self.accept < 1:
            raise ValueError(f"expected accept between 0 and 1, got {self.accept}")


@dataclass(frozen=True)
class Request:
    """One run: a plan whose defaults are filled in, the draws, and the source of randomness."""

    n: int
    plan: Plan
    warmup: int
    accept: float
    throw: bool
    generator: torch.Generator | None

    @classmethod
    def of(
        cls,
        n: int,
        plan: Plan,
        throw: bool,
        generator: torch.Generator | None,
        seed: int | None,
        *,
        accept: float,
        warmup: int = 200,
    ) -> Request:
        """With the defaults of one sampler."""
        if n < 1:
            raise ValueError(f"expected n >= 1, got {n}")
        if generator is not None and seed is not None:
            raise ValueError("expected a generator or a seed, got both")
        return cls(
            n,
            plan,
            warmup if plan.warmup is None else plan.warmup,
            accept if plan.accept is None else plan.accept,
            throw,
            generator if seed is None else torch.Generator().manual_seed(seed),
        )


@dataclass(frozen=True)
class Starts:
    """Starting points of the chains."""

    x: Float[Tensor, "chains D"]
    uniform: bool  # whether they are draws of the uniform distribution of M
    given: bool  # whether they come from the user
    weighted: bool = False  # whether each component of M has the share that the user gave it
    components: Int[Tensor, " chains"] | None = None  # of each, where that is known


@dataclass(frozen=True)
class Ready:
    """Chains at their starts: what moves them, the reach, and a first step."""

    trajectories: Trajectories
    start: Starts
    state: ChainState
    reach: float
    step: float


@dataclass(frozen=True)
class Records:
    """What was seen along the chains; transitions are draws times `thin`."""

    x: Float[Tensor, "draws chains D"]
    log_f: Float[Tensor, "draws chains"]
    before: Float[Tensor, "transitions chains"]  # log density at the start
    outcome: UInt8[Tensor, "transitions chains"]
    longest: Float[Tensor, "transitions chains"]  # longest tangential step
    swaps: list[float] | None = None  # acceptance of swaps between replicas

    @classmethod
    def empty(cls, request: Request, D: int) -> Records:
        """Room for what is asked for."""
        n, chains = request.n, request.plan.chains
        total = n * request.plan.thin
        x = torch.empty(n, chains, D, dtype=torch.float64)
        before = torch.empty(total, chains, dtype=torch.float32)
        outcome = torch.empty(total, chains, dtype=torch.uint8)
        return cls(x, x.new_empty(n, chains), before, outcome, torch.empty_like(before))

    def note(self, i: int, before: ChainState, result: Transition) -> None:
        """Take in transition i."""
        self.before[i], self.outcome[i] = before.log_f, result.outcome
        self.longest[i] = result.longest

    def retain(self, i: int, state: ChainState) -> None:
        """Take in draw i."""
        self.x[i], self.log_f[i] = state.at.x, state.log_f
