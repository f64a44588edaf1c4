"""Mixtures of compactly supported bumps on the charts of an atlas: exact and easy to sample."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import calculus
from ..errors import AtlasError
from ..manifolds.atlas import BaseAtlas
from .base import ManifoldDistribution, likelihood_of, manifold_of

# exponent of (1 - |t|^2)_+: the density is twice continuously differentiable
_POWER = 3


def log_bump_constant(dim: int) -> float:
    r"""The logarithm of c_d, :math:`c_d \int (1 - |t|^2)_+^3 dt = 1` over R^d."""
    half = dim / 2
    return math.lgamma(half + _POWER + 1) - half * math.log(math.pi) - math.lgamma(_POWER + 1)


class BumpMixture(ManifoldDistribution):
    r"""A mixture of bumps, each carried onto M by one chart.

    .. math:: p(x) = \sum_j w_j\, c_d\, |\det L_j|\,
              \big(1 - |L_j(\varphi_{k_j}(x) - z_j)|^2\big)_+^3\, e^{-v_{k_j}(x)},

    where :math:`v_k = \tfrac12 \log\det D\psi_k^\top D\psi_k`. Every bump is the push-forward of a
    normalised density with support in the domain of its chart, so p is normalised and continuous,
    overlaps are not counted twice, and no chart leaks out of its image. Where M ends inside its
    charts p is the mixture on M over the share of its mass that lies there.

    Args:
        atlas: charts of one manifold.
        chart: k_j, which chart carries bump j, shape (J,).
        z: centres z_j in that chart, shape (J, d).
        L: maps L_j from latent offsets to the unit ball, shape (J, d, d).
        weights: w_j >= 0, made to add up to 1, shape (J,).
        mass: the share of the mixture on M, where charts reach beyond the boundary of M.
        log_z_error: of the log normaliser, in nats: of `mass`, or where a chart is undefined.
        validate_args: raise on points off M instead of giving them -inf.
    """

    def __init__(
        self,
        atlas: BaseAtlas,
        chart: Int[Tensor, " J"],
        z: Float[Tensor, "J d"],
        L: Float[Tensor, "J d d"],
        weights: Float[Tensor, " J"],
        *,
        mass: float = 1.0,
        log_z_error: float = 0.0,
        validate_args: bool | None = None,
    ) -> None:
        manifold = manifold_of(atlas)
        self.atlas, self.chart, self.z, self.L = atlas, chart, z, L
        self.weights, self.mass = weights / weights.sum(), mass
        super().__init__(
            manifold,
            likelihood=likelihood_of(log_z_error),
            log_z_error=log_z_error,
            validate_args=validate_args,
        )

    def own_atlas(self) -> BaseAtlas:
        """The charts of the bumps."""
        return self.atlas

    def _log_prob(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        x = x.to(self.z.dtype)
        return self.log_prob_on(x, self.manifold.tangent_basis(x))

    def log_prob_on(
        self, x: Float[Tensor, "n D"], Q: Float[Tensor, "n D d"]
    ) -> Float[Tensor, " n"]:
        """Log p at points x of M, where orthonormal tangent bases Q are at hand already."""
        p = x.new_zeros(x.shape[0])
        for k, chart in enumerate(self.atlas):
            mine = (self.chart == k) & (self.weights > 0)
            if not bool(mine.any()):
                continue
            z = chart.encode(x)
            rows = (~z.isnan().any(-1)).nonzero().squeeze(-1)
            if rows.numel() == 0:
                continue
            log_volume = calculus.log_gram(chart.jacobian_on(z[rows], Q[rows]))
            bumps = bump_densities(z[rows], self.z[mine], self.L[mine])
            p = p.index_add(0, rows, (bumps @ self.weights[mine]) * (-log_volume).exp())
        return p.log() - math.log(self.mass)

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        x = self.z.new_full((n, self.manifold.ambient_dim), math.nan)
        # what is beyond the boundary of M, or undefined, is drawn again
        missing = torch.arange(n)
        for _ in range(50):
            if missing.numel() == 0:
                return x
            x[missing] = self.propose(missing.numel(), generator)
            missing = x.isnan().any(-1).nonzero().squeeze(-1)
        raise AtlasError(
            f"expected charts that decode the support of their bumps, but {missing.numel()} of "
            f"{n} draws failed 50 times; fit the density again on more points"
        )

    def propose(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n D"]:
        """Points of the bumps, NaN where one is outside M or its chart is not defined."""
        j = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        return draw_bumps(self.atlas, self.chart[j], self.z[j], self.L[j], generator)


def draw_bumps(
    atlas: BaseAtlas,
    chart: Int[Tensor, " n"],
    z: Float[Tensor, "n d"],
    L: Float[Tensor, "n d d"],
    generator: torch.Generator | None,
) -> Float[Tensor, "n D"]:
    """One point of each of these bumps; NaN where it lies beyond the boundary, or is undefined."""
    n, d = z.shape
    # of a uniform point of the unit sphere of R^(d + 8) the first d have density c_d (1 - |t|^2)^3
    g = torch.randn(n, d + 2 * _POWER + 2, dtype=z.dtype, generator=generator)
    t = (g / g.norm(dim=-1, keepdim=True))[:, :d]
    z = z + torch.linalg.solve(L, t.unsqueeze(-1)).squeeze(-1)
    charts = list(atlas)
    x = z.new_empty(n, charts[0].ambient_dim)
    for k in chart.unique().tolist():
        rows = chart == k
        x[rows] = charts[k].decode(z[rows])
    in_domain = atlas.in_domain
    return x if in_domain is None else torch.where(in_domain(x).unsqueeze(-1), x, math.nan)


def bump_densities(
    z: Float[Tensor, "n d"], centres: Float[Tensor, "J d"], L: Float[Tensor, "J d d"]
) -> Float[Tensor, "n J"]:
    """Densities of the bumps at z, w.r.t. Lebesgue measure of the latent space."""
    t = torch.einsum("jde,nje->njd", L, z.unsqueeze(1) - centres)
    log_scale = log_bump_constant(z.shape[-1]) + torch.linalg.slogdet(L)[1]
    return (1 - t.square().sum(-1)).clamp_min(0).pow(_POWER) * log_scale.exp()
