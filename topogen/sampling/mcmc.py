r"""The tangent random walk of Zappa, Holmes-Cerfon and Goodman."""

from __future__ import annotations

from typing import Any

import torch

from ..manifolds.base import Manifold
from .chains import ChainResult, Plan, run
from .constraint_steps import NormalSolver
from .target import LogDensity
from .transitions import Kernel


def random_walk(
    M: Manifold,
    log_density: LogDensity | None = None,
    n: int = 1000,
    *,
    step: float | None = None,
    chains: int = 256,
    start: Any = None,
    weights: Any = None,
    components: Any = None,
    warmup: int | None = None,
    thin: int = 1,
    accept: float = 0.6,
    reach: float | None = None,
    solver: NormalSolver | None = None,
    throw: bool = False,
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> ChainResult:
    r"""Draw from the distribution of density f w.r.t. H^d on M by random walks along M.

    At x in M, with v normal in T_xM of standard deviation h, y = x + v + N_x a is the point of M
    over x + v, and :math:`v' = P_y (x - y)`. It is taken with probability

    .. math:: \min\Bigl(1, \frac{f(y)}{f(x)}\, e^{(|v|^2 - |v'|^2) / 2h^2}\Bigr)

    if it lies in the domain of validity of M and the same solver leads back from y + v' to x; else
    x is kept and counts again. Without the last test the distribution is wrong: on a torus of
    radii 1 and .5 at h = .5, E cos phi is .29 in place of .25. All chains are rows, which never
    affect one another.

    Zappa, Holmes-Cerfon and Goodman, "Monte Carlo on manifolds: sampling densities and integrating
    functions", 2018, https://doi.org/10.1002/cpa.21783.

    Args:
        M: the set; `equations` or `linearize`, `project`, `in_domain` and `normal_basis` are used.
        log_density: log f up to a constant, row-wise, (n, D) to (n,); None means uniform on M.
        n: draws kept of each chain.
        step: h; None adapts it during warm-up to the acceptance `accept`, never above the reach,
            and freezes it.
        chains: how many.
        start: points near M, shape (m, D); they are projected. None takes uniform draws where M
            has an exact sampler, else points all over M that are found by projection.
        weights: without `components`, one for each start, such that the weighted starts stand for
            the uniform distribution of M (a tube or ray sample): they are resampled on the way to
            f. With `components`, the mass of each component under the distribution aimed at, in
            the order of the labels.
        components: labels of the components of M that the starts lie in, which no chain leaves;
            R-hat is then taken within components.
        warmup: transitions before draws are kept (200). Starts not given by the user, or given
            with weights, are annealed from the uniform distribution to f in its first half.
        thin: transitions for one kept draw.
        accept: mean acceptance probability to adapt to.
        reach: of M; None estimates it from pairs of starts, from above.
        solver: tolerances and budget of the return to M.
        throw: raise where there is an alarm.
        generator: source of randomness; torch's global one when None.
        seed: makes a generator, in place of one.

    Raises:
        SamplingError: `throw` is set and there is an alarm.
        ProjectionError: a start does not project onto M.
        InvalidPoints: the starts are no cloud in R^D, or leave the domain of validity.
        ValueError: an option, or log_density, is not of the stated form.

    Example:
        >>> result = random_walk(tg.Sphere(), lambda x: 5 * x[:, 2], 100, warmup=60, seed=0)
        >>> result.status, result.samples.shape
        ('ok', torch.Size([256, 100, 3]))
        >>> z = result.mean(lambda x: x[..., 2])  # exactly 1 / tanh(5) - 1 / 5 = .8001
        >>> bool((z.value - 0.8001).abs() < 4 * z.error)
        True
    """
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
    return run(M, log_density, Kernel(), plan)
