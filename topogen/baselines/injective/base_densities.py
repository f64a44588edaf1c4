"""Distributions on R^d for the base of an injective flow, and a family for joint training."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import UnsupportedError
from ...models.injective.base_distributions import BaseDistribution
from ...models.injective.bases import Base, Spectrum
from ...models.injective.bases.harmonic_factors import RealLine
from ...models.nn.mlp import MLP
from ...models.nn.splines import Spline
from ...models.optimize import Adam, descend_held_out

_BINS = 12


def require_lines(base: Base, density: str) -> None:
    """Raise UnsupportedError unless the base is R^d."""
    if any(f != RealLine() for f in base.factors):
        raise UnsupportedError(
            f"expected the base R^d for density={density!r}, got {base.name}; pass "
            "density='spectral' or 'uniform'"
        )


class GaussianBase(BaseDistribution):
    """N(m, L L^T) on R^d: standard until it is fitted, by mean and covariance.

    Args:
        base: R^d.

    Example:
        >>> from topogen.models.injective.bases import standard
        >>> distribution = GaussianBase(standard("euclidean", 2))
        >>> round(float(distribution.log_prob(torch.zeros(2).double())), 4)
        -1.8379
    """

    mean: Tensor
    root: Tensor

    def __init__(self, base: Base) -> None:
        super().__init__()
        require_lines(base, "gaussian")
        self.base = base
        self.register_buffer("mean", torch.zeros(base.dim, dtype=torch.float64))
        self.register_buffer("root", torch.eye(base.dim, dtype=torch.float64))

    def log_prob(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """Log density in nats."""
        root = self.root.to(b)
        t = torch.linalg.solve_triangular(root, (b - self.mean.to(b)).unsqueeze(-1), upper=False)
        log_det = root.diagonal().log().sum()
        return -0.5 * (t.square().sum((-2, -1)) + self.base.dim * math.log(2 * math.pi)) - log_det

    def sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n w"]:
        """Independent points."""
        z = torch.randn(n, self.base.dim, generator=generator, dtype=torch.float64)
        return self.mean + z.to(self.mean) @ self.root.mT

    def fit(
        self, b: Float[Tensor, "n w"], generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        """Mean and covariance."""
        self.mean = b.mean(0)
        centred = b - self.mean
        eye = torch.eye(self.base.dim).to(b)
        self.root = torch.linalg.cholesky(centred.mT @ centred / len(b) + 1e-12 * eye)
        self.fitted = True
        yield {"loss": -float(self.log_prob(b).mean())}
        return True


class RankSplineBase(BaseDistribution):
    r"""A distribution on R^d by splines of Gaussian ranks, coordinate by coordinate.

    .. math:: p(z) = \prod_i S_i'(\Phi(t_i))\, \phi(t_i) / c_i, \qquad t_i = (z_i - m_i) / c_i,

    S_i a monotone rational-quadratic spline of [0, 1] whose parameters depend on t_1, ...,
    t_(i-1) (C. Durkan et al., Neural spline flows, 2019, https://arxiv.org/abs/1906.04032).

    Args:
        base: R^d.
        width: units of the hidden layers of the conditioners.

    Example:
        >>> from topogen.models.injective.bases import standard
        >>> distribution = RankSplineBase(standard("euclidean", 1))
        >>> round(float(distribution.log_prob(torch.zeros(1).double())), 4)
        -0.9189
    """

    def __init__(self, base: Base, *, width: int = 32) -> None:
        super().__init__()
        require_lines(base, "splines")
        self.base = base
        self.place = nn.Parameter(torch.zeros(base.dim, dtype=torch.float64))
        self.log_size = nn.Parameter(torch.zeros(base.dim, dtype=torch.float64))
        outputs = 3 * _BINS + 1
        self.conditioners = nn.ModuleList(
            MLP(i, outputs, width=width, depth=2 if i else 0, last=0.0) for i in range(base.dim)
        )
        self.requires_grad_(False)

    def start(self, generator: torch.Generator) -> None:
        """Draw the first weights: the distribution is N(0, I)."""
        for net in self.conditioners:
            cast("MLP", net).start(generator)
        with torch.no_grad():
            self.place.zero_()
            self.log_size.zero_()

    def _spline(self, i: int, t: Tensor) -> Spline:
        raw = self.conditioners[i](t[..., :i])
        return Spline.interval(*raw.split([_BINS, _BINS, _BINS + 1], -1))

    def log_prob(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """Log density in nats."""
        t = (b - self.place) * (-self.log_size).exp()
        total = -0.5 * (t.square() + math.log(2 * math.pi)).sum(-1) - self.log_size.sum()
        u = torch.special.ndtr(t)
        for i in range(self.base.dim):
            total = total + self._spline(i, t).value_and_log_slope(u[..., i])[1]
        return total

    def sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n w"]:
        """Independent points, one coordinate after the other."""
        v = torch.rand(n, self.base.dim, generator=generator, dtype=torch.float64).to(self.place)
        t = v[:, :0]
        for i in range(self.base.dim):
            u = self._spline(i, t).inverse(v[:, i]).clamp(1e-15, 1 - 1e-15)
            t = torch.cat([t, torch.special.ndtri(u).unsqueeze(-1)], -1)
        return (self.place + self.log_size.exp() * t).detach()

    def fit(
        self, b: Float[Tensor, "n w"], generator: torch.Generator, *, steps: int = 600
    ) -> Generator[Mapping[str, float], None, bool]:
        """Adam, with the weights that did best on a tenth that is held out.

        Converged if the last quarter of the steps gained less than .02 nats.
        """
        b = b[torch.randperm(len(b), generator=generator)]
        held, train = b[: len(b) // 10], b[len(b) // 10 :]
        with torch.no_grad():
            self.place.copy_(train.mean(0))
            self.log_size.copy_(train.std(0).clamp_min(1e-9).log())
        self.requires_grad_(True)

        def loss() -> Tensor:
            rows = torch.randint(len(train), (512,), generator=generator)
            return -self.log_prob(train[rows]).mean()

        def score() -> Tensor:
            return -self.log_prob(held if len(held) else train).mean()

        adam = Adam(self.parameters(), 1e-2, period=steps)
        done = yield from descend_held_out(adam, loss, score, steps=steps, every=20, late=0.02)
        self.requires_grad_(False)
        self.fitted = True
        return done


class JointFamily(nn.Module):
    r"""A density that is trained along with a decoder: :math:`p(b) = e^{a \cdot \varphi(b)} / Z`.

    Args:
        base: B, of finite volume: Z is found by quadrature at every step.
        bandwidth: of its functions phi.
    """

    log_w: Tensor

    def __init__(self, base: Base, *, bandwidth: int = 3) -> None:
        super().__init__()
        self.spectrum = Spectrum(base, bandwidth)
        self.log_cover = math.log(base.volume)
        nodes, w = base.nodes(2 * bandwidth)
        self.a = nn.Parameter(torch.zeros(self.spectrum.count, dtype=torch.float32))
        self.register_buffer("phi", self.spectrum(nodes).float())
        self.register_buffer("log_w", w.log().float())

    def log_prob(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """Log density w.r.t. the volume of B."""
        log_z = torch.logsumexp(cast("Tensor", self.phi) @ self.a + self.log_w, 0)
        return self.spectrum(b) @ self.a - log_z - self.log_cover
