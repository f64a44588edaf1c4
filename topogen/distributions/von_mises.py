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

# a peak of width 1/sqrt(kappa) below the rounding of the points of a unit sphere
_MOST = torch.finfo(torch.float64).eps ** -2
# coefficients of q, q = nu^2 / r^2, in the terms of order 1/r, 1/r^2, ... of the expansion
_DEBYE = (
    ((3, -5), 24),
    ((81, -462, 385), 1152),
    ((30375, -369603, 765765, -425425), 414720),
    ((4465125, -94121676, 349922430, -446185740, 185910725), 39813120),
)


def log_hypergeometric(b: float, y: Float[Tensor, ""]) -> Float[Tensor, ""]:
    r"""Logarithm of 0F1(; b; y) for b, y > 0, by the series :math:`\sum_k y^k / (k!\,(b)_k)`.

    Terms are positive and fall off beyond k = sqrt(y); the sum in logarithms neither overflows nor
    cancels, with a relative error of about 1e-15 times the largest logarithm.
    """
    k = torch.arange(int(2 * math.sqrt(y.item())) + 100, dtype=torch.float64)
    terms = k * y.log() - torch.lgamma(k + 1) - torch.lgamma(k + b) + math.lgamma(b)
    return terms.logsumexp(0)


def log_peak(D: int, kappa: float, *, large: float = 1000.0) -> tuple[float, float]:
    r"""Log of :math:`e^\kappa C_D(\kappa)`, the density at the mean, and its slope in kappa.

    The slope is :math:`1 - \mathrm{E}[\mu \cdot x]`. With :math:`\nu = D/2 - 1` and
    :math:`r^2 = \nu^2 + \kappa^2`, for large r by the uniform expansion

    .. math:: e^{-\kappa} I_\nu(\kappa) \approx \frac{e^{r - \kappa}}{\sqrt{2 \pi r}}
              \Big(\frac{\kappa}{\nu + r}\Big)^{\nu} \sum_k \frac{u_k(\nu^2 / r^2)}{r^k},

    in which nothing cancels; else by the series of 0F1.

    NIST Digital Library of Mathematical Functions, 10.41, https://dlmf.nist.gov/10.41.
    """
    nu = D / 2 - 1
    if kappa * kappa == 0:
        return -log_sphere_area(D - 1), 1.0
    with torch.enable_grad():
        x = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
        r = torch.hypot(x, torch.full_like(x, nu))
        # from there on four terms of the expansion leave 1e-16, and below the series is short
        if math.hypot(kappa, nu) < large:
            log = x - log_sphere_area(D - 1) - log_hypergeometric(D / 2, x * x / 4)
        else:
            q, total = (nu / r).square(), torch.ones_like(r)
            for k, (coefficients, divisor) in enumerate(_DEBYE, 1):
                term = sum(c * q**j for j, c in enumerate(coefficients)) / divisor
                total = total + term * (1 / r) ** k
            log = 0.5 * r.log() + nu * (nu + r).log() - nu**2 / (r + x) - total.log()
            log = log - (D - 1) / 2 * math.log(2 * math.pi)
    (slope,) = torch.autograd.grad(log, x)
    return log.item(), slope.item()


class VonMisesFisher(ManifoldDistribution):
    r"""The von Mises-Fisher distribution on the unit sphere S^{D-1}, w.r.t. area.

    .. math:: p(x) = C_D(\kappa) e^{\kappa \mu \cdot x}, \quad
              C_D(\kappa)^{-1} = |S^{D-1}| \; {}_0F_1(; \tfrac D2; \tfrac{\kappa^2}4)
              = (2\pi)^{D/2} I_{D/2-1}(\kappa) / \kappa^{D/2-1}

    Log C is known to rounding for every D and every concentration, see :func:`log_peak`. Samples
    are drawn as in Ulrich, "Computer generation
    of distributions on the m-sphere", 1984, https://doi.org/10.2307/2347441, and Wood, "Simulation
    of the von Mises Fisher distribution", 1994, https://doi.org/10.1080/03610919408813161.

    Args:
        mean: mean direction mu, shape (D,), D >= 2; it is normalised.
        concentration: kappa >= 0, up to 2e31: beyond, the peak is narrower than the rounding of
            its points.
        validate_args: raise on points off the sphere instead of giving them -inf.

    Raises:
        ValueError: mean is zero, not finite or no vector; concentration is negative or too large.

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
        if not 0 <= kappa <= _MOST:
            raise ValueError(
                f"expected a finite concentration >= 0 and <= {_MOST:.0e}, beyond which points "
                f"cannot be told apart, got {concentration}"
            )
        self.mean_direction = unit(mu)
        D = mu.numel()
        # log of e^kappa C_D, what multiplies exp(-kappa |x - mu|^2 / 2), and E[1 - mu . x]
        self.log_peak, self._mean_drop = log_peak(D, kappa)
        super().__init__(Circle() if D == 2 else Sphere(D - 1), validate_args=validate_args)

    @property
    def mean_cosine(self) -> float:
        r"""E[mu . x] = I_{D/2}(kappa) / I_{D/2-1}(kappa)."""
        return 1 - self._mean_drop

    def entropy(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """-E[log p], in nats w.r.t. area."""
        return self.concentration * self._mean_drop - self.log_peak

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
        # with 1 - x0 = 2b / (1 + b) and 1 - x0^2 = 4b / (1 + b)^2, w = 1 - drop
        far = 2 * b / (1 + b)

        def propose(missing: int) -> Tensor:
            size = 2 * missing + 16
            g = torch.randn(2, size, m, generator=generator, dtype=torch.float64).square().sum(-1)
            drop = 2 * b * g[0] / (g[1] + b * g[0])  # of a Beta(m/2, m/2) g0 / (g0 + g1)
            u = torch.rand(size, generator=generator, dtype=torch.float64)
            # (1 - x0 w) / (1 - x0^2)
            ratio = (far + (1 - far) * drop) * (1 + b) ** 2 / (4 * b)
            return drop[u.log() <= kappa * (far - drop) + m * ratio.log()]

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
