"""The distribution of an energy without quadrature: log Z from samples, points from chains."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ...distributions.base import ManifoldDistribution, likelihood_of
from ...distributions.energy import LogZ, evaluate
from ...errors import UnsupportedError
from ...manifolds.base import Manifold
from ...sampling.chains import ChainResult
from ...sampling.mcmc import random_walk
from ...sampling.records import Plan
from .partition_function import Draws, Method, Sampler, estimate
from .reference_measure import Measure

_CHAINS = 200


class ChainedEnergy(ManifoldDistribution):
    r"""The distribution :math:`p = e^f / Z` on M of any dimension, drawn by a tangent random walk.

    log Z is an estimate from samples, `log_z_error` its standard error, widened by the error of
    the volume. That is the volume of M where it is known, else that of `measure`; with neither it
    is taken as 1 and the likelihood is "unnormalized". Else this is "exact" where the error is at
    most 1e-3 nats, and "estimated" above.

    Args:
        manifold: M.
        log_density: f, points (n, D) to values (n,), in nats; row-wise.
        start: points near M from which the chains start, all over where p has its mass; not
            used where M has a uniform sampler.
        method: of :func:`estimate_log_z`; None takes the draws of `measure` alone where they give
            log Z to .05 nats, else "bridge".
        seed: of the draws that log Z is estimated from.
        measure: the volume and uniform draws where M does not know its volume.
        validate_args: raise on points off M instead of giving them -inf.

    Raises:
        SamplingError: the chains raise an alarm: the distribution cannot be trusted.

    Example:
        >>> M = tg.Sphere(4)
        >>> start = M.sample_uniform(100, torch.Generator().manual_seed(0))
        >>> p = ChainedEnergy(M, lambda x: x[..., 0], start, method="importance")
        >>> p.likelihood, bool(abs(float(p.log_z) - 3.3674) < 4 * p.log_z_error)
        ('estimated', True)
    """

    def __init__(
        self,
        manifold: Manifold,
        log_density: Callable[[Tensor], Tensor],
        start: Float[Tensor, "n D"],
        *,
        method: Method | None = None,
        seed: int = 0,
        measure: Measure | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.log_density, self.start = log_density, start
        self.log_z = estimate_log_z(
            manifold, log_density, start, method=method, seed=seed, measure=measure
        )
        error, known = self.log_z.error, manifold.volume is not None or measure is not None
        kind = likelihood_of(error) if known else "unnormalized"
        super().__init__(manifold, likelihood=kind, log_z_error=error, validate_args=validate_args)

    def _log_prob(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        return evaluate(self.log_density, x.to(torch.float64)) - self.log_z.value

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        # one draw of each chain: draws of different chains are independent
        walk = _walk(self.manifold, self.log_density, self.start, max(n, 2), 1, generator)
        return walk.samples[:n, -1]


def estimate_log_z(
    M: Manifold,
    log_density: Callable[[Tensor], Tensor],
    start: Float[Tensor, "n D"],
    *,
    method: Method | None = None,
    seed: int = 0,
    measure: Measure | None = None,
) -> LogZ:
    """Log Z of a log density on M from chains; V = 1 where no volume is known.

    Args:
        M: the manifold.
        log_density: f, points (n, D) to values (n,).
        start: points near M from which chains start.
        method: "importance" (uniform draws), "bridge" (these and draws of the distribution), or
            "thermodynamic" (draws of those in between); None as in :class:`ChainedEnergy`.
        seed: of the draws.
        measure: the volume and uniform draws where M does not know its volume.

    Raises:
        SamplingError: the chains raise an alarm.
        UnsupportedError: the volume of M is infinite.
    """
    volume, error = (1.0, 0.0) if measure is None else (measure.volume, measure.error)
    if M.volume is not None:
        volume, error, measure = M.volume, M.volume_error or 0.0, None
    if not 0 < volume < math.inf:
        raise UnsupportedError(f"expected a manifold of finite volume, got volume {volume}")
    sampler = chains(M, log_density, start, torch.Generator().manual_seed(seed), measure)
    if method is None and measure is not None:
        log_z = estimate(sampler, volume, "importance", volume_error=error)
        if log_z.error <= math.hypot(0.05, error / volume):  # there is no need of chains
            return log_z
    return estimate(sampler, volume, method or "bridge", volume_error=error)


def chains(
    M: Manifold,
    log_density: Callable[[Tensor], Tensor],
    start: Float[Tensor, "n D"],
    generator: torch.Generator,
    measure: Measure | None = None,
) -> Sampler:
    """Draws of :math:`e^{t f}` on M by chains, and uniform ones by the sampler of M if any."""

    @torch.no_grad()
    def draw(t: float, n: int) -> Draws:
        if t == 0 and measure is not None:
            return Draws(evaluate(log_density, measure.points), measure.effective)
        if t == 0 and M.has_sampler:
            return Draws(evaluate(log_density, M.sample_uniform(n, generator)), float(n))
        distribution = None if t == 0 else lambda x: t * log_density(x)
        walk = _walk(M, distribution, start, _CHAINS, -(-n // _CHAINS), generator)
        f = evaluate(log_density, walk.points)
        per_chain = f.reshape(*walk.samples.shape[:2], 1)
        effective = float(walk.diagnose(lambda _: per_chain).ess_bulk.min())
        return Draws(f, min(effective, float(f.numel())))

    return draw


def uniform_draws(
    M: Manifold, n: int, start: Float[Tensor, "m D"], generator: torch.Generator
) -> Float[Tensor, "n D"]:
    """Uniform draws of M: by its exact sampler where it has one, else by chains."""
    if M.has_sampler:
        return M.sample_uniform(n, generator)
    return _walk(M, None, start, _CHAINS, -(-n // _CHAINS), generator).points[:n]


def _walk(
    M: Manifold,
    log_density: Callable[[Tensor], Tensor] | None,
    start: Float[Tensor, "m D"],
    count: int,
    draws: int,
    generator: torch.Generator | None,
) -> ChainResult:
    """Chains from uniform draws where M has a sampler, else from points of `start`."""
    index = torch.randint(start.shape[0], (count,), generator=generator)
    plan = Plan(chains=count, start=None if M.has_sampler else start[index], thin=10)
    return random_walk(M, log_density, draws, throw=True, generator=generator, plan=plan)
