r"""Constrained Hamiltonian Monte Carlo: RATTLE with a reversibility check in every move."""

from __future__ import annotations

from typing import Any

import torch

from ..manifolds.base import Manifold
from .chains import ChainResult, Plan, run
from .constraint_steps import NormalSolver
from .target import LogDensity
from .transitions import Kernel


def constrained_hmc(
    M: Manifold,
    log_density: LogDensity | None = None,
    n: int = 1000,
    *,
    step: float | None = None,
    steps: int = 10,
    inner: int = 1,
    jitter: float = 0.0,
    chains: int = 256,
    start: Any = None,
    weights: Any = None,
    components: Any = None,
    warmup: int | None = None,
    thin: int = 1,
    accept: float = 0.9,
    reach: float | None = None,
    solver: NormalSolver | None = None,
    throw: bool = False,
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> ChainResult:
    r"""Draw from the distribution of density f w.r.t. H^d on M by Hamiltonian trajectories along M.

    Momenta p are normal in T_xM; one of L steps of RATTLE, in its geodesic form, is

    .. math:: p \leftarrow P_x(p + \tfrac h2 \nabla \log f), \quad
              N \times \Bigl[y = x + \tfrac hN p + N_x a \in M,\;
              p \leftarrow \tfrac Nh P_y(y - x),\; x \leftarrow y\Bigr], \quad
              p \leftarrow P_x(p + \tfrac h2 \nabla \log f).

    The trajectory is taken with probability :math:`\min(1, e^{H_0 - H_1})`,
    :math:`H = \tfrac12 |p|^2 - \log f`, and only if each of its moves ends in the domain of
    validity of M and is undone by the same solver; else x is kept. Momenta that outrun the reach
    are refused in silence, and then the distribution is wrong though the acceptance looks healthy:
    the adapted step satisfies h |p| / N <= reach / 2 for 99 % of the trajectories, and there is an
    alarm otherwise.

    Brubaker, Salzmann and Urtasun, "A family of MCMC methods on implicitly defined manifolds",
    2012, https://proceedings.mlr.press/v22/brubaker12.html; Lelievre, Rousset and Stoltz, "Hybrid
    Monte Carlo methods for sampling probability measures on submanifolds", 2019,
    https://doi.org/10.1007/s00211-019-01056-4.

    Args:
        M: as in :func:`random_walk`, like all that is not named here.
        log_density: must be differentiable by autograd.
        n: draws kept of each chain.
        step: h; None adapts it during warm-up, bounded by the reach, and freezes it.
        steps: L.
        inner: N, moves in one step; more of them allow a larger h where the gradient is dear.
        jitter: h is multiplied by a fresh U(1 - jitter, 1 + jitter) for each chain and trajectory.
        chains: how many.
        start: points near M.
        weights: of the starts, or of components.
        components: labels of the starts.
        warmup: transitions before draws are kept (200).
        thin: transitions for one kept draw.
        accept: mean acceptance probability to adapt to.
        reach: of M; None estimates it.
        solver: of the return to M.
        throw: raise where there is an alarm.
        generator: source of randomness.
        seed: makes a generator.

    Raises:
        SamplingError: `throw` is set and there is an alarm.
        ProjectionError: a start does not project onto M.
        InvalidPoints: the starts are no cloud in R^D, or leave the domain of validity.
        ValueError: an option, or log_density, is not of the stated form.

    Example:
        >>> result = constrained_hmc(tg.Sphere(), n=20, step=0.1, warmup=0, seed=0)
        >>> result.status, result.acceptance > 0.98
        ('ok', True)
        >>> square = result.mean(lambda x: x[..., 2] ** 2)
        >>> bool((square.value - 1 / 3).abs() < 4 * square.error)
        True
    """
    if steps < 1 or inner < 1:
        raise ValueError(f"expected steps >= 1 and inner >= 1, got {steps} and {inner}")
    if not 0 <= jitter < 1:
        raise ValueError(f"expected jitter in [0, 1), got {jitter}")
    plan = Plan(
        n=n,
        step=step,
        chains=chains,
        start=start,
        weights=weights,
        components=components,
        warmup=warmup,
        thin=thin,
        accept=accept,
        reach=reach,
        solver=solver or NormalSolver(),
        throw=throw,
        generator=generator,
        seed=seed,
    )
    kernel = Kernel(steps, inner, gradient=True, jitter=jitter)
    return run(M, log_density, kernel, plan)
