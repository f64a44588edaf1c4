"""Langevin chains on M without a Metropolis test, as published: a baseline that is biased."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..manifolds.base import Manifold
from ..sampling.chains import ChainResult, run
from ..sampling.metropolis import Kernel
from ..sampling.records import Plan, Request
from ..sampling.target import LogDensity


def uncorrected_constrained_langevin(
    M: Manifold,
    log_density: LogDensity | None = None,
    n: int = 1000,
    *,
    step: float,
    drift: float | None = None,
    clip: float | None = None,
    plan: Plan | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> ChainResult:
    r"""Langevin steps along M, all of which are taken: no draws of f (status "uncorrected").

    .. math:: y = x + P_x\bigl(h \xi + \tfrac a2 \nabla \log f(x)\bigr) + N_x \alpha \in M,
              \quad \xi \sim N(0, I_D).

    B. Ross et al., Neural implicit manifold learning for topology-aware density estimation (2024),
    https://openreview.net/forum?id=lTOku838Zv. Unlike there, a return to M that does not converge
    leaves x where it is, and there is no box. :func:`topogen.sampling.langevin` is unbiased.

    Args:
        M: the manifold.
        log_density: log f up to a constant, row-wise and differentiable by autograd.
        n: draws retained of each chain.
        step: h; there is nothing to adapt it to.
        drift: a; None takes h^2.
        clip: bound on the entries of the gradient.
        plan: starts, warm-up and number of the chains; its step is not used.
        generator: source of randomness; torch's global one when None.
        seed: makes a generator, in place of one.

    Raises:
        ValueError: an option, or log_density, is not of the stated form.

    Example:
        >>> z = lambda x: x[..., 2]  # its mean is .8001 under f
        >>> f = lambda x: 5 * z(x)
        >>> result = uncorrected_constrained_langevin(tg.Sphere(), f, 50, step=0.5, seed=0)
        >>> result.status, bool((result.mean(z).value - 0.8001).abs() > 0.01)
        ('uncorrected', True)
    """
    for name, value in (("drift", drift), ("clip", clip)):
        if value is not None and not value > 0:
            raise ValueError(f"expected {name} > 0, got {value}")
    plan = plan or Plan()
    plan = replace(plan, step=step, solver=replace(plan.solver, reverse_check=False))
    request = Request.of(n, plan, False, generator, seed, accept=0.75)
    half = None if drift is None else drift / 2
    kernel = Kernel(gradient=True, metropolis=False, drift=half, clip=clip)
    return run(M, log_density, kernel, request)
