r"""The published objectives of injective flows, one function each, over one interface.

x is a batch of data of mean 0 and mean square 1, noise included; b = f(x), :math:`\hat x = g(b)`,
beta is the weight of the reconstruction, l the log volume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from ... import calculus
from ..options import VolumeOptions
from .autoencoder import Autoencoder, CouplingAutoencoder
from .stochastic_log_volume import (
    chosen_surrogate,
    encoder_surrogate,
    probes,
    stochastic_log_volume,
)


@dataclass
class ObjectiveContext:
    """What an objective sees beside the batch.

    Attributes:
        pair: g and f.
        log_prob: of the base, differentiable.
        generator: source of randomness.
        weight: beta.
        share: of the likelihood in the loss, from 0 to 1.
        noise: standard deviation of what was added to the data.
        volume: how the log volume, or its gradient, is found.
        spread: log standard deviations of the encoder of "spread", shape (d,).
    """

    pair: Autoencoder
    log_prob: Callable[[Tensor], Tensor]
    generator: torch.Generator
    weight: float = 50.0
    share: float = 1.0
    noise: float = 0.0
    volume: VolumeOptions = field(default_factory=VolumeOptions)
    spread: Tensor = field(default_factory=lambda: torch.zeros(0))

    def vectors(self, b: Tensor, kind: str) -> Tensor:
        """Probes for the rows of b."""
        return probes(b, self.pair.base.dim, self.volume.probes, self.generator, kind=kind)


Rows = Float[Tensor, "n D"]
Loss = Float[Tensor, ""]


def _reconstruction(s: ObjectiveContext, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""The base points b = f(x), and :math:`|x - \hat x|^2` + a cost of numbers far from B."""
    raw = s.pair.raw(x)
    b = s.pair.base.retract(raw)
    # enough to keep the retraction smooth; more would hold an encoder in a wrong degree
    return b, (x - s.pair(b)).square().sum(-1) + 0.01 * s.pair.straying(raw)


def _joint(s: ObjectiveContext, x: Tensor, nll: Callable[[Tensor], Tensor]) -> Tensor:
    """Reconstruction, and the negative log likelihood where it counts already."""
    b, off = _reconstruction(s, x)
    loss = s.weight * off
    if s.share > 0:
        loss = loss + s.share * nll(b)
    return loss.mean()


def two_phase(s: ObjectiveContext, x: Rows) -> Loss:
    r"""Phase one of M-flow: :math:`|x - \hat x|^2`. The density is fitted afterwards.

    J. Brehmer, K. Cranmer (2020), https://arxiv.org/abs/2003.13913.
    """
    return _reconstruction(s, x)[1].mean()


def _log_volume(s: ObjectiveContext, b: Tensor) -> Tensor:
    how = s.volume
    if how.form == "exact":
        return s.pair.log_volume(b)
    v = s.vectors(b, "rademacher")
    return stochastic_log_volume(s.pair, b, v, tol=how.cg_tolerance, relative=how.cg_relative)


def rectangular(s: ObjectiveContext, x: Rows) -> Loss:
    r""":math:`-\log p_B(b) + \ell(b) + \beta |x - \hat x|^2`, l exact or stochastic.

    A. Caterini et al., Rectangular flows for manifold learning (2021),
    https://arxiv.org/abs/2106.01413.
    """
    return _joint(s, x, lambda b: _log_volume(s, b) - s.log_prob(b))


def conformal(s: ObjectiveContext, x: Rows) -> Loss:
    r"""The same for a conformal decoder, :math:`\ell = d \log\lambda`.

    B. Ross, J. Cresswell (2021), https://arxiv.org/abs/2106.05275.
    """
    return _joint(s, x, lambda b: s.pair.log_volume(b) - s.log_prob(b))


def free_form(s: ObjectiveContext, x: Rows) -> Loss:
    r""":math:`\beta |x - \hat x|^2 - \log p_B(b) - v^\top f'(x)\, SG[g'(b) v]`.

    f' is taken at x (then the curvature cannot diverge, and it is no gradient of a likelihood) or
    at :math:`\hat x`. Without noise in x, f' is any left inverse of g', not the pseudo-inverse.

    P. Sorrenson, F. Draxler et al., Lifting architectural constraints of injective flows (2024),
    https://arxiv.org/abs/2306.01843.
    """

    def nll(b: Tensor) -> Tensor:
        place = x if s.volume.at == "data" else s.pair(b)
        return encoder_surrogate(s.pair, place, b, s.vectors(b, "orthogonal")) - s.log_prob(b)

    return _joint(s, x, nll)


def normalizing_autoencoder(s: ObjectiveContext, x: Rows) -> Loss:
    r"""Free-form, with the encoder's or the decoder's surrogate per probe.

    After a summary of Normalizing autoencoders (2026), https://arxiv.org/abs/2608.12084: the rule
    is derived in :func:`chosen_surrogate`.
    """

    def nll(b: Tensor) -> Tensor:
        return chosen_surrogate(s.pair, x, b, s.vectors(b, "orthogonal")) - s.log_prob(b)

    return _joint(s, x, nll)


def principal(s: ObjectiveContext, x: Rows) -> Loss:
    r"""With :math:`I = \sum_k \log |J_k| - \ell \ge 0`, zero for orthogonal columns (Hadamard).

    "exact": :math:`-\log p_B + \ell + \alpha I`. "stochastic": :math:`-\log p_B + \sum_k \log
    |J_k|`, from one random column i as :math:`d \log |J_i|`.

    E. Cunningham, A. Cobb, S. Jha, Principal component flows (2022),
    https://arxiv.org/abs/2202.07037.
    """
    d = s.pair.base.dim

    def nll(b: Tensor) -> Tensor:
        if s.volume.form == "stochastic":
            k = torch.randint(d, (len(b),), generator=s.generator)
            column = s.pair.along(b, torch.eye(d).to(b)[k.to(b.device)])[1]
            return d * column.norm(dim=-1).log() - s.log_prob(b)
        J = s.pair.value_and_jacobian(b)[1]
        lv = calculus.log_gram(J)
        return lv + s.volume.strength * (column_bound(J) - lv) - s.log_prob(b)

    return _joint(s, x, nll)


def column_bound(J: Float[Tensor, "*batch D d"]) -> Float[Tensor, "*batch"]:
    r""":math:`\sum_k \log |J_k| \ge \tfrac12 \log\det J^\top J`."""
    return J.norm(dim=-2).log().sum(-1)


def canonical(s: ObjectiveContext, x: Rows) -> Loss:
    r"""Rectangular, plus :math:`\gamma \sum_{i \ne j} |G_{ij}|`, G = J^T J.

    K. Flouris, E. Konukoglu, Canonical normalizing flows for manifold learning (2023),
    https://arxiv.org/abs/2310.12743.
    """

    def nll(b: Tensor) -> Tensor:
        J = s.pair.value_and_jacobian(b)[1]
        G = J.mT @ J
        off = G.abs().sum((-2, -1)) - G.diagonal(dim1=-2, dim2=-1).sum(-1)
        lv = calculus.log_gram(J) if s.volume.form == "exact" else _log_volume(s, b)
        return lv + s.volume.strength * off - s.log_prob(b)

    return _joint(s, x, nll)


def relaxed(s: ObjectiveContext, x: Rows) -> Loss:
    r"""With :math:`d \log |J v|` for l, v random of length 1, and |Jv| kept in [.1, 10].

    :math:`E\, d \log |J v| \ge \ell` (Jensen), tight where all singular values of J agree.

    A. Kumar, B. Poole, K. Murphy, Regularized autoencoders via relaxed injective probability flow
    (2020), https://arxiv.org/abs/2002.08927.
    """
    d = s.pair.base.dim

    def nll(b: Tensor) -> Tensor:
        v = s.vectors(b, "gaussian")[0]
        length = s.pair.along(b, v / v.norm(dim=-1, keepdim=True))[1].norm(dim=-1)
        band = (0.1 - length).clamp_min(0).square() + (length - 10).clamp_min(0).square()
        return d * length.clamp_min(1e-12).log() + s.volume.strength * band - s.log_prob(b)

    return _joint(s, x, nll)


def denoising(s: ObjectiveContext, x: Rows) -> Loss:
    r""":math:`-\log q(x + e) + \beta |x - h(u, 0)|^2` for a flow h of R^D.

    q is the distribution of h(u, v), u from p_B and v from N(0, sigma^2); e has standard deviation
    sigma. With beta = 0 it is inflation-deflation.

    C. Horvat, J.-P. Pfister, Denoising normalizing flow (2021), https://openreview.net/forum?id=
    E8tBDmqfcI; Density estimation on low-dimensional manifolds (2021),
    https://arxiv.org/abs/2105.12152.
    """
    flow, d = cast("CouplingAutoencoder", s.pair).flow, s.pair.base.dim
    noisy = x + s.noise * torch.randn(x.shape, generator=s.generator).to(x)
    y = flow.inverse(noisy)
    u, v = y[..., :d], y[..., d:]
    normal = -0.5 * (v / s.noise).square().sum(-1)
    constant = -v.shape[-1] * torch.log(torch.tensor(s.noise * (2 * torch.pi) ** 0.5)).to(v)
    log_q = s.log_prob(u) + normal + constant - flow.forward_and_log_det(y)[1]
    return (s.weight * (x - s.pair(u)).square().sum(-1) - log_q).mean()


def spread(s: ObjectiveContext, x: Rows) -> Loss:
    r"""The evidence bound of x + e under g(z) + e, e of standard deviation sigma.

    .. math:: \frac{|x + e - g(z)|^2}{2\sigma^2} - \log p_B(z) - H(q), \qquad q = N(f(x + e),
              \mathrm{diag}(t^2)) \ni z

    It exists where :math:`KL(p \,|\, p_g)` does not, as :math:`KL(p * N_\sigma \,|\, p_g *
    N_\sigma)`. The base has the rank d that is given; the paper learns it.

    M. Zhang, Y. Sun, C. Zhang, S. McDonagh, Spread flows for manifold modelling (2023),
    https://arxiv.org/abs/2109.14216.
    """
    y = x + s.noise * torch.randn(x.shape, generator=s.generator).to(x)
    mean = s.pair.encode(y)
    z = mean + s.spread.exp() * torch.randn(mean.shape, generator=s.generator).to(mean)
    fit = (y - s.pair(z)).square().sum(-1) / (2 * s.noise**2)
    return (fit - s.log_prob(z) - s.spread.sum()).mean()


@dataclass(frozen=True)
class PublishedObjective:
    """A loss, and what its paper uses with it, for data scaled to mean square 1.

    Attributes:
        loss: of a context and a batch.
        weight: beta of the reconstruction.
        noise: standard deviation of the noise.
        joint: whether it starts with reconstruction alone, and the likelihood joins later.
        adds_noise: whether the loss draws the noise itself.
        learns_spread: whether the spread of the encoder is trained.
    """

    loss: Callable[[ObjectiveContext, Tensor], Tensor]
    weight: float = 1.0
    noise: float = 0.05
    joint: bool = True
    adds_noise: bool = False
    learns_spread: bool = False


OBJECTIVES: dict[str, PublishedObjective] = {
    "two_phase": PublishedObjective(two_phase, noise=0.0, joint=False),
    "rectangular": PublishedObjective(rectangular, weight=50.0),
    "conformal": PublishedObjective(conformal, weight=1000.0, noise=0.0),
    "free_form": PublishedObjective(free_form, weight=10.0),
    "normalizing_autoencoder": PublishedObjective(normalizing_autoencoder, weight=5.0),
    "principal": PublishedObjective(principal, weight=50.0),
    "canonical": PublishedObjective(canonical, weight=50.0),
    "relaxed": PublishedObjective(relaxed, weight=50.0),
    "denoising": PublishedObjective(denoising, weight=100.0, joint=False, adds_noise=True),
    "spread": PublishedObjective(spread, joint=False, adds_noise=True, learns_spread=True),
}
