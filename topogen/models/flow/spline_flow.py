"""A distribution on a base space, learned as spline flows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...distributions.base import ManifoldDistribution
from ...manifolds.base import Manifold
from ..base import LearnedDistribution, Progress, Stage, projections
from ..optimize import Adam, descend_held_out, folds, some, weights_in
from .conditioner import ConditionedCoordinates
from .triangular_maps import Flows


class SplineDistribution(ManifoldDistribution):
    r"""The mean of the distributions that K maps T_k: M -> M take to the uniform one.

    .. math:: p(x) = \frac{1}{K\, H^d(M)} \sum_k |\det DT_k(x)|

    It is normalised and continuous. Samples are independent: an index k, a uniform point, and the
    inverse of T_k. Gradients flow from log p into x and the weights.

    Args:
        manifold: M, of known volume.
        flows: the maps.
        validate_args: raise on points off M instead of giving them -inf.

    Example:
        >>> M = tg.Circle(radius=2.0)  # T_k is the identity before a fit
        >>> distribution = SplineDistribution(M, Flows(M.factors(), 3, bins=4, width=8, depth=1))
        >>> round(distribution.log_prob(torch.tensor([[2.0, 0.0]])).exp().item() * M.volume, 4)
        1.0
    """

    def __init__(
        self, manifold: Manifold, flows: Flows, *, validate_args: bool | None = None
    ) -> None:
        if manifold.volume is None:
            raise ValueError(f"expected a set of known volume, got {type(manifold).__name__}")
        self.flows = flows
        self.log_volume = math.log(manifold.volume)
        super().__init__(manifold, validate_args=validate_args)

    def _log_prob(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        return self.flows(x) - self.log_volume

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        K, d = self.flows.count, self.flows.dim
        k = torch.randint(K, (n,), generator=generator)
        v = torch.rand(n, d, generator=generator, dtype=torch.float64)
        # the rows of one map beside those of the others, padded to the longest
        mine = nn.functional.one_hot(k, K)
        place = (mine.cumsum(0) - 1)[torch.arange(n), k]
        grid = torch.full((K, int(mine.sum(0).max()), d), 0.5, dtype=torch.float64)
        grid[k, place] = v
        return self.flows.inverse(grid)[k, place]


class SplineFlow(LearnedDistribution):
    r"""An exact, continuous density on a base space, learned by maximum likelihood.

    M is a :class:`~topogen.Circle`, a :class:`~topogen.FlatTorus`, an
    :class:`~topogen.Interval`, a :class:`~topogen.Sphere`, or a :class:`~topogen.Product` of
    these. The distribution is the mean of K distributions

    .. math:: p_k(x) = \frac{1}{H^d(M)} \prod_{i=1}^d
              \frac{\partial S_{k,i}}{\partial u_i}(u_i; x_{<i}),

    u coordinates of M that preserve volume (angles; on S^2 height and longitude), every
    :math:`S_{k,i}` an increasing map of its interval or circle: a rotation and a Moebius map on a
    circle, then a rational-quadratic spline, chosen by a network from the embedded coordinates
    before it, (cos t, sin t) for a circle. Towards the poles of a sphere the maps become
    rotations: p is continuous everywhere, without cuts.

    Each of the K networks is trained with another fold of the data held out, on which its weights
    do best, and with other poles of spheres; the mean of their distributions is better than the
    average of them. The weights are frozen but during the fit; ``model.requires_grad_()`` lets
    gradients of log p flow into them.

    Args:
        manifold: M.
        bins: of every spline.
        width: units of a hidden layer of the networks.
        depth: their hidden layers.
        networks: K.

    Raises:
        UnsupportedError: another set.
        ValueError: fewer than 2 bins, or another number below 1.

    Attributes:
        lost: share of the data that did not project onto M.
        atol: how far from M points like the data are; None where they lie on it.

    References:
        D. Rezende et al., Normalizing Flows on Tori and Spheres, 2020,
        https://arxiv.org/abs/2002.02428

    Example:
        >>> M = tg.Product(tg.Circle(), tg.Interval(0.0, 1.0))
        >>> x = M.sample_uniform(500, torch.Generator().manual_seed(0))
        >>> model = SplineFlow(M, networks=2)
        >>> tg.fit(model, x).status
        'converged'
        >>> distribution = model()
        >>> distribution.sample((100,)).shape, distribution.likelihood
        (torch.Size([100, 3]), 'exact')
    """

    _numbers = ("lost", "atol")

    def __init__(
        self,
        manifold: Manifold,
        *,
        bins: int = 8,
        width: int = 32,
        depth: int = 2,
        networks: int = 5,
    ) -> None:
        super().__init__()
        self.atol: float | None = None
        if bins < 2 or min(width, depth, networks) < 1:
            raise ValueError(
                f"expected bins >= 2 and width, depth, networks >= 1, got {bins}, {width}, "
                f"{depth}, {networks}"
            )
        self.manifold = manifold
        self.bins, self.width, self.depth, self.networks = bins, width, depth, networks
        self.flows = Flows(manifold.factors(), networks, bins=bins, width=width, depth=depth)
        self.flows.requires_grad_(False)
        self.lost = 0.0

    def forward(self) -> SplineDistribution:
        """The distribution at the current weights; points off M get -inf, not an error."""
        self.require_fitted()
        return SplineDistribution(self.manifold, self.flows, validate_args=False).within(self.atol)

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """The one stage, of a model that is not fitted."""
        if not self.fitted:
            yield Stage("flow", lambda generator: self._fit(points, generator))

    def _fit(self, points: Tensor, generator: torch.Generator) -> Progress[bool]:
        found = projections(self.manifold, points)
        x, self.lost, self.atol = found.on, found.lost, found.atol
        yield {"points": x.shape[0], "lost": self.lost, "moved": found.moved}
        flows = self.flows.requires_grad_(True)
        try:
            flows.start(x, generator)
            done = yield from _maximise(flows, x, generator)
        finally:
            flows.requires_grad_(False)
            weights_in(flows, torch.float64)
        self.fitted = True
        return done


def _maximise(flows: Flows, x: Float[Tensor, "n D"], generator: torch.Generator) -> Progress[bool]:
    """Maximum likelihood for all maps at once, in single precision, in which they are left."""
    K, n, steps = flows.count, x.shape[0], 1000
    held = folds(n, K, generator)
    seen = 1 - held
    located = [ConditionedCoordinates(*(part.float() for part in at)) for at in flows.locate(x)]
    rows = held.argsort(dim=-1, descending=True, stable=True)[:, : int(held.sum(-1).min())]
    k = torch.arange(K).unsqueeze(-1)
    test = [ConditionedCoordinates(*(part[k, rows] for part in at)) for at in located]
    weights_in(flows, torch.float32)

    def loss() -> Tensor:
        i = some(n, generator)
        w = seen[:, i]
        some_rows = [ConditionedCoordinates(*(part[:, i] for part in at)) for at in located]
        log_slopes = flows.each(some_rows)
        return (-(log_slopes * w).sum(-1) / w.sum(-1)).sum()

    adam = Adam(
        flows.parameters(),
        0.03,
        period=steps,
        decay=(0.9, 0.99),
        average=lambda t: max(1 - 0.98, 1 / (t + 2)),
    )
    return descend_held_out(
        adam,
        loss,
        lambda: -flows.each(test).mean(-1),
        steps=steps,
        every=10,
        networks=K,
        patience=150,
        gain=1e-4,
        late=2e-3,  # the rate falls to 0 over the steps
    )
