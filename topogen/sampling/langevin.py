r"""Constrained Langevin chains: with a Metropolis test, and as they were published without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ..manifolds.base import Manifold
from .chains import ChainResult, Plan, run
from .constraint_steps import NormalSolver
from .target import LogDensity
from .transitions import Kernel


def langevin(
    M: Manifold,
    log_density: LogDensity | None = None,
    n: int = 1000,
    *,
    step: float | None = None,
    corrected: bool = True,
    drift: float | None = None,
    clip: float | None = None,
    chains: int = 256,
    start: Any = None,
    weights: Any = None,
    components: Any = None,
    warmup: int | None = None,
    thin: int = 1,
    accept: float = 0.75,
    reach: float | None = None,
    solver: NormalSolver | None = None,
    throw: bool = False,
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> ChainResult:
    r"""Draw from the distribution of density f w.r.t. H^d on M by Langevin steps along M.

    .. math:: y = x + P_x\bigl(h \xi + \tfrac{h^2}{2} \nabla \log f(x)\bigr) + N_x a \in M,
              \quad \xi \sim N(0, I_D).

    `corrected` accepts y by a Metropolis test and a check that the way back ends at x: one step of
    :func:`constrained_hmc`. Without it every y that lies on M is taken, as in Ross, Loaiza-Ganem,
    Caterini and Cresswell, "Neural implicit manifold learning for topology-aware density
    estimation", 2024, https://openreview.net/forum?id=lTOku838Zv: a baseline of a biased
    distribution (status "uncorrected"). There the gradient enters with a factor a/2 of its own
    (`drift`), and clipped (`clip`). Unlike there, a return to M that does not converge leaves x
    where it is, and points are never clamped to a box.

    Args:
        M: as in :func:`random_walk`, like all that is not named here.
        log_density: must be differentiable by autograd.
        n: draws kept of each chain.
        step: h; None adapts it during warm-up, which needs `corrected`.
        corrected: whether the distribution is right.
        drift: a, in place of h^2; for the uncorrected chain only.
        clip: bound on the entries of the gradient; for the uncorrected chain only.
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
        >>> distribution = lambda x: 5 * x[:, 2]
        >>> z = lambda x: x[..., 2]  # exactly .8001
        >>> fair = langevin(tg.Sphere(), distribution, 100, warmup=60, seed=0).mean(z)
        >>> bool((fair.value - 0.8001).abs() < 4 * fair.error)
        True
        >>> published = langevin(tg.Sphere(), distribution, 50, step=0.5, corrected=False, seed=0)
        >>> published.status, bool((published.mean(z).value - 0.8001).abs() > 0.01)
        ('uncorrected', True)
    """
    if corrected and (drift is not None or clip is not None):
        raise ValueError(
            "expected drift and clip with corrected=False only: a Metropolis test would refuse "
            "nearly everything"
        )
    if not corrected and step is None:
        raise ValueError("expected a step for the uncorrected chain: it has nothing to adapt to")
    for name, value in (("drift", drift), ("clip", clip)):
        if value is not None and not value > 0:
            raise ValueError(f"expected {name} > 0, got {value}")
    solver = solver or NormalSolver()
    if not corrected:
        solver = replace(solver, reverse_check=False)
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
        solver=solver,
        throw=throw,
        generator=generator,
        seed=seed,
    )
    half = None if drift is None else drift / 2
    kernel = Kernel(gradient=True, metropolis=corrected, drift=half, clip=clip)
    return run(M, log_density, kernel, plan)
