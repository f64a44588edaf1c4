"""Laws of a ManifoldDistribution."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from ..distributions.base import Likelihood, ManifoldDistribution, Measure
from ..errors import UnsupportedError
from ..manifolds.atlas import BaseAtlas
from .laws import Laws, gap, seeded

_SIGMAS = 5.0  # a right distribution fails one of m tests by chance with probability 6e-7 m


def check_distribution(
    q: ManifoldDistribution,
    generator: torch.Generator | None = None,
    *,
    atlas: BaseAtlas | None = None,
    n: int = 4000,
    tol: float = 2e-3,
) -> dict[str, float]:
    r"""Check support, shapes, seeds, mass, sampler, density, gradient; returns numbers, by law.

    The gradient of log p in x must be tangent to M, and that of differences along M.

    With an atlas, an exact one must integrate to 1 up to `tol`, and the means of :math:`x_i` and
    :math:`x_i^2` over n samples must be their integrals against p up to 5 standard errors. Without
    one, the volume identity :math:`E_q[1/q] = H^d(M)` is checked, where the volume is known.

    Args:
        q: the distribution.
        generator: source of randomness; None takes a fixed seed.
        atlas: charts of M for the quadrature; None takes ``q.manifold.atlas()``, if there is one.
        n: how many samples.
        tol: error allowed in the total mass, beside that of the quadrature and `log_z_error`.

    Raises:
        LawViolation: a law is broken; the message names it, with the number and the tolerance.

    Example:
        >>> from topogen.distributions.uniform import Uniform
        >>> from topogen.manifolds.spaces import Circle
        >>> check_distribution(Uniform(Circle()))["normalised"] < 1e-9
        True
    """
    laws, generator = Laws(q), seeded(generator)
    _attributes(q, laws)
    _samples(q, generator, laws)
    if q.likelihood == "none":
        x, said = q.sample((2,), generator), "a distribution without density"
        laws.raises("log_prob", UnsupportedError, lambda: q.log_prob(x), said)
        return laws.measured
    _log_prob(q, q.sample((32,), generator), laws)
    _gradient(q, q.sample((8,), torch.Generator().manual_seed(1)), laws)
    x = q.sample((n,), generator)
    if atlas is None and q.manifold.has_atlas and q.dim <= 3:
        atlas = q.manifold.atlas()
    if q.likelihood == "exact" and atlas is not None and q.dim <= 3:
        _quadrature(q, x, atlas, tol, laws)
    elif q.likelihood == "exact" and q.manifold.volume is not None:
        inverse = (-q.log_prob(x)).exp()
        sigma = float(inverse.std()) / math.sqrt(n) + q.manifold.volume * (tol + q.log_z_error)
        error = abs(float(inverse.mean()) - q.manifold.volume) / sigma
        laws.at_most("volume identity", error, _SIGMAS, "E[1/q] is the volume of M")
    return laws.measured


def _attributes(q: ManifoldDistribution, laws: Laws) -> None:
    measures, kinds = get_args(Measure), get_args(Likelihood)
    laws.holds("measure", q.measure in measures, f"one of {measures}")
    laws.holds("likelihood", q.likelihood in kinds, f"one of {kinds}")
    laws.equal("dim", isinstance(q.dim, int) and q.dim >= 0, True, "an integer >= 0")
    laws.holds("log_z_error", q.log_z_error >= 0, "a bound >= 0")
    laws.equal("shapes", tuple(q.event_shape), (q.manifold.ambient_dim,), "event shape (D,)")


def _samples(q: ManifoldDistribution, generator: torch.Generator, laws: Laws) -> None:
    D = q.manifold.ambient_dim
    for shape, expected in (((), ()), ((3,), (3,)), ((2, 3), (2, 3)), (5, (5,)), (0, (0,))):
        x = q.sample(shape, generator)
        laws.equal("shapes", tuple(x.shape), (*expected, D), f"sample({shape})")
        laws.holds("no gradient", not x.requires_grad, "sample() carries no gradients")
    x = q.sample((64,), generator)
    laws.holds("support", q.support.check(x), "samples lie in the support")
    a, b, c = (q.sample((8,), torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    laws.holds("seeds", a == b, "the same seed gives the same sample")
    laws.holds("seeds", bool((a != c).any()), "another seed gives another sample")


def _log_prob(q: ManifoldDistribution, x: Tensor, laws: Laws) -> None:
    value = q.log_prob(x)
    laws.equal("shapes", tuple(value.shape), tuple(x.shape[:-1]), "log_prob gives (...)")
    laws.holds("samples have density", value.isfinite(), "log_prob is finite at samples")
    alone = torch.stack([q.log_prob(row) for row in x[:4]])
    laws.at_most("rows alone", gap(alone, value[:4]), 1e-8, "rows must not see each other")
    grid = q.log_prob(x[:6].reshape(2, 3, -1))
    laws.at_most("rows alone", gap(grid.reshape(-1), value[:6]), 1e-8, "leading axes are rows")
    laws.equal("shapes", tuple(q.log_prob(x[:0]).shape), (0,), "an empty batch")
    laws.equal("dtype kept", q.log_prob(x.float()).dtype, torch.float32, "log_prob of float32")
    invalid = x.clone()
    invalid[0] = math.nan
    invalid[1] = x[1] + 3 * q.manifold.scale
    if q.validates:
        laws.raises("off M", ValueError, lambda: q.log_prob(invalid[:2]), "NaN while validating")
        return
    y, on = q.log_prob(invalid), q.manifold.contains(invalid[1])
    laws.holds("NaN stays NaN", y[0].isnan(), "log_prob of NaN is NaN, not -inf")
    laws.holds("off M", on | (y[1] == -math.inf), "log_prob off M is -inf")
    laws.at_most("rows alone", gap(y[2:], value[2:]), 1e-8, "bad rows must not touch the others")


def _gradient(q: ManifoldDistribution, x: Tensor, laws: Laws) -> None:
    x, M = x.clone().requires_grad_(), q.manifold
    value = q.log_prob(x)
    g = torch.zeros_like(x)  # of a constant without a graph
    if value.requires_grad:
        (g,) = torch.autograd.grad(value.sum(), x)
    x, h = x.detach(), 1e-4 * M.scale
    on_M = q.measure == "hausdorff"
    T = M.tangent_basis(x) if on_M else torch.eye(M.ambient_dim).to(x).expand(len(x), -1, -1)

    def at(s: float) -> Tensor:
        y = x.unsqueeze(-2) + s * h * T.mT
        return q.log_prob(M.project(y).value if on_M else y)

    with torch.no_grad():
        slope = (at(1.0) - at(-1.0)) / (2 * h)
    along = (T.mT @ g.unsqueeze(-1)).squeeze(-1)
    size = 1 + float(g.norm(dim=-1).max())
    known = slope.isfinite()  # not where M ends
    said = "the gradient is that of differences along M"
    laws.at_most("gradient", (along - slope)[known].abs() / size, 1e-2, said)
    normal = g - (T @ along.unsqueeze(-1)).squeeze(-1)
    laws.at_most("tangent gradient", normal.norm(dim=-1) / size, 1e-6, "it has no normal part")


def _quadrature(
    q: ManifoldDistribution, x: Tensor, atlas: BaseAtlas, tol: float, laws: Laws
) -> None:
    def moments(y: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(y[:, :1]), y, y * y], -1)

    integral = atlas.integrate(lambda y: q.log_prob(y).exp().unsqueeze(-1) * moments(y), tol / 4)
    allowed = tol + float(integral.error[0]) + q.log_z_error
    laws.at_most("normalised", abs(float(integral.value[0]) - 1), allowed, "p integrates to 1")
    laws.at_most("quadrature error", float(integral.error[0]), 5 * tol, "quadrature must converge")
    values = moments(x)
    # the quadrature's own error beside the standard error of the mean
    sigma = values.std(0) / math.sqrt(x.shape[0]) + integral.error + allowed * values.abs().mean(0)
    error = ((values.mean(0) - integral.value).abs() / sigma)[1:]
    laws.at_most("samples follow the density", error, _SIGMAS, "means over samples and over p")
