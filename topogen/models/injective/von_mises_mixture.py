r"""Mixtures of von Mises-Fisher distributions on bases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ...distributions.von_mises import VonMisesFisher
from ...errors import InvalidPoints, UnsupportedError
from ..base import Progress
from .base_distributions import BaseDistribution
from .bases import Base
from .bases.harmonic_factors import RealLine, UnitInterval

# of mixtures whose size is found: a factor of 2 in size changes held-out likelihoods little
SIZES = (1, 2, 4, 8, 16, 32)


class VonMisesMixture(BaseDistribution):
    r"""A mixture of products of von Mises-Fisher distributions of the factors of the cover, on B.

    .. math:: p(b) = \sum_{\gamma \in \Gamma} \sum_{k=1}^K \pi_k \prod_f
              \frac{e^{\eta_{kf} \cdot (\gamma b)_f}}{c_f(|\eta_{kf}|)}, \qquad
              c_f(\kappa) = |X_f| \; {}_0F_1(; \tfrac D2; \tfrac{\kappa^2}4)

    w.r.t. the volume of :math:`B = \tilde B / \Gamma`, :math:`\eta = \kappa \mu`. On circles
    (D = 2) the factors are von Mises distributions, on spheres S^(D-1) von Mises-Fisher ones; on
    intervals they are :math:`e^{\eta h} / c`, that of a coordinate of the latter on S^2 (D = 3).
    The sum over the group makes p a function on B. Samples are exact.

    EM with one uniform pseudo-point per component, which keeps concentrations finite; the best of
    several starts. Of the sizes K the one with the largest likelihood of held-out points is fitted
    once more to all (A. Banerjee et al., 2005, "Clustering on the unit hypersphere using von
    Mises-Fisher distributions", https://www.jmlr.org/papers/v6/banerjee05a.html).

    Args:
        base: B, without lines.
        sizes: numbers K of components to choose from, increasing.

    Attributes:
        eta: shape (K, w).
        log_weights: log pi, shape (K,).

    Raises:
        UnsupportedError: a base with lines.

    Example:
        >>> from topogen.models.injective.bases import standard
        >>> distribution = VonMisesMixture(standard("circle"))
        >>> x = tg.VonMises(0.0, 3.0).sample((4000,), torch.Generator().manual_seed(0))
        >>> records = list(distribution.fit(x, torch.Generator().manual_seed(0)))
        >>> bool((distribution.eta - torch.tensor([3.0, 0.0])).abs().max() < 0.2)
        True
    """

    eta: Tensor
    log_weights: Tensor
    offset: Tensor

    def __init__(self, base: Base, sizes: Sequence[int] = (1,)) -> None:
        super().__init__()
        if any(f == RealLine() for f in base.factors):
            raise UnsupportedError(
                f"expected a base without lines for von Mises distributions, got {base.name}; "
                "pass density='splines'"
            )
        self.base, self.sizes = base, tuple(sizes)
        self.orders = [3 if f == UnitInterval() else f.width for f in base.factors]
        self.register_buffer("eta", torch.zeros(1, base.width, dtype=torch.float64))
        self.register_buffer("log_weights", torch.zeros(1, dtype=torch.float64))
        self.register_buffer("offset", self._offset(self.eta, self.log_weights))

    def log_prob(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """Log of the sum over components and the orbit of b."""
        return (self.base.orbit(b) @ self.eta.to(b).mT + self.offset.to(b)).logsumexp((0, -1))

    def sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n w"]:
        """Points of the mixture on the cover."""
        pi = self.log_weights.exp()
        k = torch.multinomial(pi.cpu(), max(n, 1), replacement=True, generator=generator)[:n]
        b = self.eta.new_zeros(n, self.base.width)
        for i in k.unique().tolist():
            mine = (k == i).nonzero().squeeze(-1)
            drawn = []
            for f, eta in zip(self.base.factors, self.base.split(self.eta[i]), strict=True):
                # the last coordinate on S^2 has the distribution of the interval
                flat = f == UnitInterval()
                mu = torch.cat([eta.new_zeros(2), eta]) if flat else eta
                kappa = float(eta.norm())
                if kappa == 0:
                    mu = torch.eye(len(mu))[-1]
                x = VonMisesFisher(mu.cpu(), kappa).sample((len(mine),), generator)
                drawn.append(x[:, 2:] if flat else x)
            b[mine] = torch.cat(drawn, -1).to(b)
        return b

    @torch.no_grad()
    def fit(self, b: Float[Tensor, "n w"], generator: torch.Generator) -> Progress[bool]:
        """EM for every size, a tenth of the points held out; converged if the best climb was."""
        if len(b) < 20:
            raise InvalidPoints(f"expected at least 20 points, got {len(b)}")
        orbit = self.base.orbit(b[torch.randperm(len(b), generator=generator).to(b.device)])
        choose = len(self.sizes) > 1
        held_out, train = orbit.tensor_split([len(b) // 10], 1) if choose else (orbit, orbit)
        best, since, ended = -math.inf, 0, False
        for size in self.sizes:
            gained = False
            for _ in range(3 if size * len(self.base.group) > 1 else 1):
                # components of concentration 5 at points of the data, of one weight
                i = torch.randperm(train.shape[1], generator=generator)[:size].to(train.device)
                eta, log_pi = 5.0 * train[0, i], train.new_full((len(i),), -math.log(len(i)))
                eta, log_pi, done = yield from self._climb(train, eta, log_pi)
                score = float(self._terms(held_out, eta, log_pi).logsumexp((0, -1)).mean())
                if score > best:
                    best, gained, ended = score, True, done
                    self.set_parameters(eta, log_pi)
            since = 0 if gained else since + 1
            if since == 2:  # larger sizes do no better
                break
        if choose:
            eta, log_pi, ended = yield from self._climb(orbit, self.eta, self.log_weights)
            self.set_parameters(eta, log_pi)
        self.fitted = True
        return ended

    def _climb(
        self, orbit: Tensor, eta: Tensor, log_pi: Tensor
    ) -> Progress[tuple[Tensor, Tensor, bool]]:
        """EM: r = p(k, gamma | b); pi and the mean of gamma b under r; kappa by Newton."""
        before, ended = -math.inf, False
        for step in range(200):
            terms = self._terms(orbit, eta, log_pi)
            value = terms.logsumexp((0, -1), keepdim=True)
            now = float(value.mean())
            if step % 10 == 0:
                yield {"loss": -now, "components": float(len(eta))}
            if now - before < 1e-7:
                ended = True
                break
            before = now
            r = (terms - value).exp()
            total = r.sum((0, 1))
            log_pi = (total / total.sum()).log()
            mean = torch.einsum("gnk,gnw->kw", r, orbit) / (total + 1).unsqueeze(-1)
            parts = zip(self.base.split(mean), self.orders, strict=True)
            eta = torch.cat([_natural(m, D) for m, D in parts], -1)
        return eta, log_pi, ended

    def _terms(self, orbit: Tensor, eta: Tensor, log_pi: Tensor) -> Float[Tensor, "m *batch K"]:
        """Log pi_k q_k(gamma b)."""
        return orbit @ eta.mT + self._offset(eta, log_pi)

    def _offset(self, eta: Tensor, log_pi: Tensor) -> Float[Tensor, " K"]:
        """Log pi - sum_f log c_f."""
        parts = zip(self.base.factors, self.base.split(eta), self.orders, strict=True)
        logs = [math.log(f.volume) + _log_mean_exp(part.norm(dim=-1), D) for f, part, D in parts]
        return log_pi - torch.stack(logs).sum(0)

    def set_parameters(self, eta: Float[Tensor, "K w"], log_pi: Float[Tensor, " K"]) -> None:
        """Take these components, instead of a fit."""
        self.eta, self.log_weights = eta, log_pi
        self.offset = self._offset(eta, log_pi)


def _bessel(order: float, kappa: Tensor) -> Tensor:
    """e^-kappa I_order(kappa)."""
    from scipy.special import ive

    return torch.from_numpy(ive(order, kappa.cpu().numpy())).to(kappa)


def _log_mean_exp(kappa: Float[Tensor, " K"], D: int) -> Float[Tensor, " K"]:
    r"""Log 0F1(; D/2; kappa^2/4): that of the mean of e^(kappa x_1) over S^(D-1)."""
    v, k = D / 2 - 1, kappa.clamp_min(1e-9)
    return _bessel(v, k).log() + k + math.lgamma(D / 2) - v * (k / 2).log()


def _natural(mean: Float[Tensor, "K w"], D: int, most: float = 1e5) -> Float[Tensor, "K w"]:
    r"""The eta of this mean m: :math:`I_{D/2} / I_{D/2-1}(\kappa) = |m|`, by Newton."""
    R = mean.norm(dim=-1, keepdim=True).clamp(1e-12, 1 - 1e-12)
    kappa = (R * (D - R * R) / (1 - R * R)).clamp(max=most)
    for _ in range(5):
        A = _bessel(D / 2, kappa) / _bessel(D / 2 - 1, kappa)
        step = (A - R) / (1 - A * A - (D - 1) * A / kappa).clamp_min(1e-15)
        kappa = torch.minimum(kappa - step, 2 * kappa).clamp(1e-12, most)
    return kappa * mean / R
