r"""Distributions on bases, exponential families among them, and their images on M."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ...distributions.base import ManifoldDistribution, likelihood_of
from ...errors import InvalidPoints, TrainingError, UnsupportedError
from ..base import Fittable, Progress
from .bases import Base, Spectrum
from .image_manifold import ImageManifold, require_share
from .marginal_likelihood import MarginalLikelihood


class BaseDistribution(Fittable):
    """A distribution on a base B, with a density w.r.t. the volume of B, at points of its cover.

    To implement one, write `log_prob`, invariant under the group, `sample` and `fit`.
    """

    _numbers = ("log_z_error",)
    base: Base
    log_z_error: float = 0.0

    @abstractmethod
    def log_prob(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """Log density in nats w.r.t. the volume of B."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n w"]:
        """Independent points."""

    @abstractmethod
    def fit(self, b: Float[Tensor, "n w"], generator: torch.Generator) -> Progress[bool]:
        """Fit to base points; yields progress records, and returns whether the fit converged."""

    def set_uniform(self) -> None:
        """Take the uniform distribution of the family, instead of a fit.

        Raises:
            UnsupportedError: the family is not made for it.
        """
        raise UnsupportedError(
            f"expected an exponential family for the uniform distribution, got "
            f"{type(self).__name__}; pass density='uniform'"
        )


class SpectralDistribution(BaseDistribution):
    r"""An exponential family :math:`p(b) = e^{a \cdot \varphi(b)}\, r(b) / Z` on B.

    phi are the functions of a :class:`Spectrum`. With r the volume factor of a decoder it is
    :math:`e^{a \cdot \varphi} / Z` w.r.t. the area of M, and uniform on M for a = 0.

    The log likelihood less :math:`\tfrac n2 \sum_k \lambda_k a_k^2`, :math:`\lambda_k =
    (\sum_f c_f \mu_{kf})^s` with the eigenvalues mu of the Laplacian of each factor of B, is
    concave; Newton finds its maximum. The scales c_f, by which p may be rougher along one factor
    than along another, and s are those of the largest :class:`MarginalLikelihood`. Z is an
    integral by quadrature.

    Args:
        base: B, without lines.
        bandwidth: K; by the dimension of B when None.
        log_r: log r at points of the cover, as :meth:`ImageManifold.log_volume`; 0 when None.

    Attributes:
        log_c: the logarithms of c, as fitted.
        power: s, as fitted.
    """

    _numbers = (*BaseDistribution._numbers, "log_c", "power")
    coefficients: Tensor
    log_z: Tensor
    top: Tensor

    def __init__(
        self,
        base: Base,
        bandwidth: int | None = None,
        log_r: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.base, self.log_r = base, log_r
        if not math.isfinite(base.volume):
            raise TrainingError(
                f"expected a base of finite volume for a spectral distribution, got {base.name}; "
                "pass density='splines'"
            )
        self.spectrum = _widest(base) if bandwidth is None else Spectrum(base, bandwidth)
        self.bandwidth = self.spectrum.bandwidth
        self.register_buffer("coefficients", torch.zeros(self.spectrum.count, dtype=torch.float64))
        self.register_buffer("log_z", torch.tensor(math.log(base.volume), dtype=torch.float64))
        self.log_c: tuple[float, ...] = ()
        self.power = math.nan
        self.register_buffer("top", torch.zeros((), dtype=torch.float64))

    def energy(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        r""":math:`a \cdot \varphi(b)`."""
        return self.spectrum.raw(b) @ self.spectrum.to_raw(self.coefficients.unsqueeze(-1))[:, 0]

    def log_prob(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        r""":math:`a \cdot \varphi(b) + \log r(b) - \log Z`."""
        return self._exponent(b) - self.log_z

    def _log_r(self, b: Tensor) -> Tensor:
        return b.new_zeros(b.shape[:-1]) if self.log_r is None else self.log_r(b)

    def sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n w"]:
        """By rejection of uniform points.

        Raises:
            UnsupportedError: next to nothing is accepted.
        """
        found = [self.base.sample(0, generator=generator)]
        count, tried = 0, 0
        while count < n:
            share = max(count, 1) / max(tried, 1) if tried else 0.3
            m = min(65_536, int(1.2 * (n - count) / share) + 64)
            b = self.base.sample(m, generator=generator)
            u = torch.rand(m, generator=generator, dtype=b.dtype).to(b)
            found.append(b[u.log() + self.top <= self._exponent(b)])
            count, tried = count + len(found[-1]), tried + m
            require_share(count, tried)
        return torch.cat(found)[:n]

    def fit(self, b: Float[Tensor, "n w"], generator: torch.Generator) -> Progress[bool]:
        """The posterior mode at the penalty of the largest marginal likelihood.

        Converged if the search for the penalty did, and the quadrature resolves p.

        Raises:
            InvalidPoints: there are none.
            TrainingError: the marginal likelihood is not finite.
        """
        if not len(b):
            raise InvalidPoints("expected base points, got none; look for points that are off M")
        mean = torch.cat([self.spectrum(part) for part in b.split(4096)]).mean(0)
        nodes, w = self.base.nodes(max(2 * self.bandwidth, 12 if self.base.dim < 3 else 6))
        r = self._log_r(nodes)
        w = w * (r - r.max()).exp()
        mu = self.spectrum.eigenvalues.to(mean)
        live = mu.sum(1) > 0
        phi = self.spectrum(nodes)[:, live]
        n, d = len(b), self.base.dim
        choice = MarginalLikelihood(phi, w / w.sum(), mean[live], mu[live], n, d).largest()
        self.coefficients = torch.zeros_like(self.coefficients)
        self.coefficients[live] = choice.a
        self.log_c, self.power = choice.log_c, choice.s
        self.normalise()
        self.fitted = True
        for loss in choice.losses:
            yield {"loss": loss}
        yield {"loss": -choice.value, "power": choice.s, "tried": len(choice.losses)}
        # with more nats of error in log Z p is finer than its nodes
        return choice.converged and self.log_z_error < 0.05

    def set_uniform(self) -> None:
        """Take a = 0, which is uniform on M if r is the volume factor of its decoder."""
        self.coefficients = torch.zeros_like(self.coefficients)
        self.normalise()
        self.fitted = True

    def normalise(self) -> None:
        """Find Z, and the largest exponent, from which samples are rejected."""
        found = self.base.integrate_exp(self._exponent, 3 * self.bandwidth)
        self.log_z, self.log_z_error = found.log_value, found.error
        # the largest node, and the ascent from the best of them
        b = found.nodes[found.values.topk(min(64, len(found.nodes))).indices].clone()
        step = 0.3 / (1 + self.bandwidth)
        for _ in range(40):
            b = b.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._exponent(b).sum(), b)
            E = self.base.frame(b.detach())
            v = (E @ (E.mT @ slope.unsqueeze(-1))).squeeze(-1)
            moved = self.base.move(b.detach(), step * v / (1e-9 + v.norm(dim=-1, keepdim=True)))
            better = self._exponent(moved) > self._exponent(b.detach())
            b = torch.where(better.unsqueeze(-1), moved, b.detach())
            step = step if bool(better.any()) else step / 2
        self.top = torch.maximum(found.values.max(), self._exponent(b).max()).detach() + 1e-3

    def _exponent(self, b: Tensor) -> Tensor:
        return self.energy(b) + self._log_r(b)


def _widest(base: Base) -> Spectrum:
    """The spectrum of the largest bandwidth with not too many functions for Newton's method."""
    most = {1: 49, 2: 330, 3: 150}.get(base.dim, 200)
    widest = Spectrum(base, 2)
    for bandwidth in range(3, 25):
        wider = Spectrum(base, bandwidth)
        if wider.count > most:
            break
        widest = wider
    return widest


class ImageDistribution(ManifoldDistribution):
    r"""The image under g of a distribution on the base, w.r.t. the area of M.

    .. math:: \log p(x) = \log p_B(b) - \tfrac12 \log\det J^\top J - d \log u, \qquad x = c + u\,
              g(b).

    Args:
        image: M.
        distribution: p_B.
    """

    def __init__(
        self,
        image: ImageManifold,
        distribution: BaseDistribution,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.image, self.distribution = image, distribution
        error = distribution.log_z_error
        super().__init__(
            image, likelihood=likelihood_of(error), log_z_error=error, validate_args=validate_args
        )

    def log_prob_at(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """Log p at the points of M with these base points."""
        return self.distribution.log_prob(b) - self.image.log_volume(b)

    def _log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        return self.log_prob_at(self.image.encode(x).b).reshape(x.shape[:-1])

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        return self.image.decode(self.distribution.sample(n, generator))
