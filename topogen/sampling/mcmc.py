r"""Markov chains on M: the tangent random walk, Hamiltonian trajectories, and Langevin steps."""

from __future__ import annotations

import torch

from ..manifolds.base import Manifold
from .chains import ChainResult, run
from .metropolis import Kernel
from .records import Plan, Request
from .target import LogDensity


def random_walk(
    M: Manifold,
    log_density: LogDensity | None = None,
    n: int = 1000,
    *,
    plan: Plan | None = None,
    throw: bool = False,
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> ChainResult:
    r"""Draw from the distribution of density f w.r.t. H^d on M by random walks along M.

    At x in M, with v normal in T_xM of standard deviation h, y = x + v + N_x a is the point of M
    over x + v, and :math:`v' = P_y (x - y)`. It is taken with probability

    .. math:: \min\Bigl(1, \frac{f(y)}{f(x)}\, e^{(|v|^2 - |v'|^2) / 2h^2}\Bigr)

    if it lies in the domain of validity of M and the same solver leads back from y + v' to x; else
    x counts again. Without the last test the distribution is wrong: on a torus of radii 1 and .5
    at h = .5, E cos phi is .29 in place of .25.

    Zappa, Holmes-Cerfon and Goodman, "Monte Carlo on manifolds: sampling densities and integrating
    functions", 2018, https://doi.org/10.1002/cpa.21783.

    Args:
        M: uses its `equations` or `linearize`, `project`, `in_domain` and `normal_basis`.
        log_density: log f up to a constant, row-wise, (n, D) to (n,); None means uniform on M.
        n: draws retained of each chain.
        plan: starts, warm-up, step and number of the chains.
        throw: raise where there is an alarm.
        generator: source of randomness; torch's global one when None.
        seed: makes a generator, in place of one.

    Raises:
        SamplingError: `throw` is set and there is an alarm.
        ProjectionError: a start does not project onto M.
        InvalidPoints: the starts are no cloud in R^D, or leave the domain of validity.
        ValueError: an option, or log_density, is not of the stated form.

    Example:
        >>> plan = Plan(warmup=60)
        >>> result = random_walk(tg.Sphere(), lambda x: 5 * x[:, 2], 100, plan=plan, seed=0)
        >>> result.status, result.samples.shape
        ('ok', torch.Size([256, 100, 3]))
        >>> z = result.mean(lambda x: x[..., 2])  # exactly 1 / tanh(5) - 1 / 5 = .8001
        >>> bool((z.value - 0.8001).abs() < 4 * z.error)
        True
    """
    request = Request.of(n, plan or Plan(), throw, generator, seed, accept=0.6)
    return run(M, log_density, Kernel(), request)


def constrained_hmc(
    M: Manifold,
    log_density: LogDensity | None = None,
    n: int = 1000,
    *,
    steps: int = 10,
    inner: int = 1,
    jitter: float = 0.0,
    plan: Plan | None = None,
    throw: bool = False,
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> ChainResult:
    r"""Draw from the distribution of density f w.r.t. H^d on M by Hamiltonian trajectories on M.

    Momenta p are normal in T_xM; one of L steps of RATTLE, in its geodesic form, is

    .. math:: p \leftarrow P_x(p + \tfrac h2 \nabla \log f), \quad
              N \times \Bigl[y = x + \tfrac hN p + N_x a \in M,\;
              p \leftarrow \tfrac Nh P_y(y - x),\; x \leftarrow y\Bigr], \quad
              p \leftarrow P_x(p + \tfrac h2 \nabla \log f).

    The trajectory is taken with probability :math:`\min(1, e^{H_0 - H_1})`,
    :math:`H = \tfrac12 |p|^2 - \log f`, and only if each of its moves ends in the domain of
    validity of M and is undone by the same solver; else x counts again. Where momenta outrun the
    reach the distribution is wrong though the acceptance looks healthy: the adapted step satisfies
    h |p| / N <= reach / 2 for 99 % of the trajectories, and there is an alarm otherwise.

    Brubaker, Salzmann and Urtasun, "A family of MCMC methods on implicitly defined manifolds",
    2012, https://proceedings.mlr.press/v22/brubaker12.html; Lelievre, Rousset and Stoltz, "Hybrid
    Monte Carlo methods for sampling probability measures on submanifolds", 2019,
    https://doi.org/10.1007/s00211-019-01056-4.

    Args:
        M: as in :func:`random_walk`, like `n` and all that follows `jitter`.
        log_density: must be differentiable by autograd.
        n: draws retained of each chain.
        steps: L.
        inner: N, moves in one step; more of them allow a larger h where the gradient is dear.
        jitter: h is multiplied by a fresh U(1 - jitter, 1 + jitter) for each chain and trajectory.
        plan: starts, warm-up, step and number of the chains.
        throw: raise where there is an alarm.
        generator: source of randomness.
        seed: makes a generator.

    Raises:
        SamplingError: `throw` is set and there is an alarm.
        ProjectionError: a start does not project onto M.
        InvalidPoints: the starts are no cloud in R^D, or leave the domain of validity.
        ValueError: an option, or log_density, is not of the stated form.

    Example:
        >>> result = constrained_hmc(tg.Sphere(), n=20, plan=Plan(step=0.1, warmup=0), seed=0)
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
    request = Request.of(n, plan or Plan(), throw, generator, seed, accept=0.9)
    return run(M, log_density, Kernel(steps, inner, gradient=True, jitter=jitter), request)


def langevin(
    M: Manifold,
    log_density: LogDensity | None = None,
    n: int = 1000,
    *,
    plan: Plan | None = None,
    throw: bool = False,
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> ChainResult:
    r"""Draw from the distribution of density f w.r.t. H^d on M by Langevin steps along M.

    .. math:: y = x + P_x\bigl(h \xi + \tfrac{h^2}{2} \nabla \log f(x)\bigr) + N_x a \in M,
              \quad \xi \sim N(0, I_D),

    accepted by a Metropolis test and a check that the way back ends at x: one step of
    :func:`constrained_hmc`, whose arguments these are.

    Example:
        >>> z = lambda x: x[..., 2]  # exactly .8001
        >>> f = lambda x: 5 * z(x)
        >>> mean = langevin(tg.Sphere(), f, 100, plan=Plan(warmup=60), seed=0).mean(z)
        >>> bool((mean.value - 0.8001).abs() < 4 * mean.error)
        True
    """
    request = Request.of(n, plan or Plan(), throw, generator, seed, accept=0.75)
    return run(M, log_density, Kernel(gradient=True), request)
