"""The von Mises distribution of a circle and the von Mises-Fisher distribution of a sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..manifolds.rejection_sampling import draw_until
from ..manifolds.spaces.base import sphere_tangents, unit
from ..manifolds.spaces.spheres import Circle, Sphere, log_sphere_area
from .base import ManifoldDistribution


def log_hypergeometric(b: float, y: float) -> float:
    r"""Logarithm of 0F1(; b; y) for b > 0, y >= 0, by the series :math:`\sum_k y^k / (k!\,(b)_k)`.

    Terms are positive and fall off beyond k = sqrt(y); the sum in logarithms neither overflows nor
    cancels, with a relative error of about 1e-15 times the largest logarithm.
    """
    if y == 0:
        return 0.0
    k = torch.arange(int(2 * math.sqrt(y)) + 100, dtype=torch.float64)
    terms = k * math.log(y) - torch.lgamma(k + 1) - torch.lgamma(k + b) + math.lgamma(b)
    return float(terms.logsumexp(0))


class VonMisesFisher(ManifoldDistribution):
    r"""The von Mises-Fisher distribution on the unit sphere S^{D-1}, w.r.t. area.

    .. math:: p(x) = C_D(\kappa) e^{\kappa \mu \cdot x}, \quad
              C_D(\kappa)^{-1} = |S^{D-1}| \; {}_0F_1(; \tfrac D2; \tfrac{\kappa^2}4)
              = (2\pi)^{D/2} I_{D/2-1}(\kappa) / \kappa^{D/2-1}

    The series of 0F1 gives log C to rounding for every D and every concentration from 0 (the
    uniform distribution) to 1e4 and beyond. Samples are drawn as in Ulrich, "Computer generation
    of distributions on the m-sphere", 1984, https://doi.org/10.2307/2347441, and Wood, "Simulation
    of the von Mises Fisher distribution", 1994, https://doi.org/10.1080/03610919408813161.

    Args:
        mean: mean direction mu, shape (D,), D >= 2; it is normalised.
        concentration: kappa >= 0.
        validate_args: raise on points off the sphere instead of giving them -inf.

    Raises:
        ValueError: mean is zero, not finite or no vector; concentration is negative or not finite.

    Example:
        >>> q = VonMisesFisher([0.0, 0.0, 2.0], 10.0)
        >>> q.log_prob(torch.tensor([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8]]))
        tensor([ 0.4647, -1.5353])
        >>> round(q.entropy(), 6)
        0.535292
    """

    def __init__(
        self,
        mean: Float[Tensor, " D"] | Sequence[float],
        concentration: float,
        *,
        validate_args: bool | None = None,
    ) -> None:
        mu = torch.as_tensor(mean, dtype=torch.float64).detach()
        if mu.ndim != 1 or mu.numel() < 2 or not bool(mu.isfinite().all()) or not bool(mu.any()):
            raise ValueError(
                f"expected a finite nonzero mean of shape (D,), D >= 2, "
                f"got shape {tuple(mu.shape)}: {mu.tolist()}"
            )
        self.concentration = kappa = float(concentration)
        if not (math.isfinite(kappa) and kappa >= 0):
            raise ValueError(f"expected a finite concentration >= 0, got {concentration}")
        self.mean_direction = unit(mu)
        D = mu.numel()
        # log of e^kappa C_D: what multiplies exp(-kappa |x - mu|^2 / 2)
        self.log_peak = kappa - log_sphere_area(D - 1) - log_hypergeometric(D / 2, kappa**2 / 4)
        super().__init__(Circle() if D == 2 else Sphere(D - 1), validate_args=validate_args)

    @property
    def mean_cosine(self) -> float:
        r"""E[mu . x] = I_{D/2}(kappa) / I_{D/2-1}(kappa)."""
        D, kappa = self.manifold.ambient_dim, self.concentration
        y = kappa**2 / 4
        log_ratio = log_hypergeometric(D / 2 + 1, y) - log_hypergeometric(D / 2, y)
        return kappa / D * math.exp(log_ratio)

    def entropy(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """-E[log p], in nats w.r.t. area."""
        return self.concentration * (1 - self.mean_cosine) - self.log_peak

    def _log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        # |x - mu|^2 / 2 = 1 - mu . x keeps its digits where x is near mu
        distance2 = (x.to(torch.float64) - self.mean_direction.to(x.device)).square().sum(-1)
        return (self.log_peak - self.concentration * distance2 / 2).to(x.dtype)

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        mu = self.mean_direction
        drop = self._drop(n, generator)  # 1 - mu . x
        E = sphere_tangents(mu)
        v = unit(torch.randn(n, E.shape[-1], generator=generator, dtype=torch.float64)) @ E.mT
        sine = (drop * (2 - drop)).clamp_min(0).sqrt()
        return unit((1 - drop).unsqueeze(-1) * mu + sine.unsqueeze(-1) * v)

    def _drop(self, n: int, generator: torch.Generator | None) -> Float[Tensor, " n"]:
        """Draws of 1 - mu . x: by the inverse distribution function for D = 3, else Wood's way."""
        D, kappa = self.manifold.ambient_dim, self.concentration
        if D == 3:
            u = torch.rand(n, generator=generator, dtype=torch.float64)
            if kappa < 1e-8:  # the formula loses its digits; the uniform one differs by kappa
                return 2 * u
            return -torch.log1p(u * math.expm1(-2 * kappa)) / kappa
        m = D - 1
        # b = (sqrt(4 kappa^2 + m^2) - 2 kappa) / m, without cancellation
        b = m / (2 * kappa + math.hypot(2 * kappa, m))
        x0 = (1 - b) / (1 + b)
        # log(1 - x0^2), 1 - x0 = 2b / (1 + b)
        c = kappa * x0 + m * (math.log(4 * b) - 2 * math.log1p(b))

        def propose(missing: int) -> Tensor:
            size = 2 * missing + 16
            g = torch.randn(2, size, m, generator=generator, dtype=torch.float64).square().sum(-1)
            z = g[0] / (g[0] + g[1])  # Beta(m/2, m/2)
            drop = 2 * b * z / (1 - (1 - b) * z)
            u = torch.rand(size, generator=generator, dtype=torch.float64)
            # 1 - x0 w, w = 1 - drop
            level = kappa * (1 - drop) + m * torch.log((1 - x0) + x0 * drop) - c
            return drop[u.log() <= level]

        return draw_until(n, propose, "hardly any proposal is accepted")


class VonMises(ManifoldDistribution):
    r"""The von Mises distribution of points (cos t, sin t) of the unit circle, w.r.t. arc length.

    .. math:: p(t) = e^{\kappa \cos(t - \mu)} / (2\pi I_0(\kappa))

    Args:
        mean: the angle mu, in radians.
        concentration: kappa >= 0.
        validate_args: raise on points off the circle instead of giving them -inf.

    Raises:
        ValueError: mean is not one finite number; concentration is negative or not finite.

    Example:
        >>> q = VonMises(0.0, 2.0)
        >>> q.log_prob(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        tensor([-0.6619, -4.6619])
        >>> round(q.entropy(), 6)
        1.266321
    """

    def __init__(
        self, mean: float, concentration: float, *, validate_args: bool | None = None
    ) -> None:
        try:
            mu = float(mean)
        except (TypeError, ValueError, RuntimeError):
            mu = math.nan
        if not math.isfinite(mu):
            raise ValueError(
                f"expected a finite mean angle in radians, got {mean}; for a mean vector use "
                "VonMisesFisher"
            )
        self.mean_angle = mu
        self.vmf = VonMisesFisher([math.cos(mu), math.sin(mu)], concentration)
        self.concentration = self.vmf.concentration
        super().__init__(self.vmf.manifold, validate_args=validate_args)

    def entropy(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """-E[log p], in nats w.r.t. arc length."""
        return self.vmf.entropy()

    def _log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        return self.vmf._log_prob(x)

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        return self.vmf._sample(n, generator)
