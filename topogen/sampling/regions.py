"""Where in R^D a manifold is: points of it, a ball around it, and a cover of a tube about it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InvalidPoints, UnsupportedError
from ..manifolds.base import Manifold
from ..manifolds.locate import arrived
from ..manifolds.rejection_sampling import draw_until
from ..point_cloud.knn import nearest
from ..point_cloud.landmarks import farthest_points
from ..point_cloud.tensors import as_tensor, distinct
from .volume_estimate import ball_volume, in_ball, mean_of

# points of M that the rest starts from: a few for each hundredth of a surface
_KNOWN = 2000
_ENTRIES = 4_000_000  # of a block of distances: 32 MB
# steps from random points in one round: two of them leave what covers all but a thousandth
_WALKERS = 2000


def known_points(
    M: Manifold, points: Any = None, generator: torch.Generator | None = None
) -> Float[Tensor, "n D"]:
    """Points of M in its domain of validity: those given, projected, or some that are found.

    Without `points`, M is asked for some (:meth:`Manifold.rough_points`); if it knows none, points
    of normal clouds about the origin, a quarter, once and four times as wide as `scale`, are
    projected.

    Raises:
        InvalidPoints: fewer than 20 different points are found.
    """
    if points is not None:
        start = as_tensor(points, ambient_dim=M.ambient_dim)
        if start.shape[0] > _KNOWN:
            start = start[torch.randperm(start.shape[0], generator=generator)[:_KNOWN]]
        x = arrived(M, start)
    elif (x := M.rough_points(_KNOWN, generator)) is None:
        g = torch.randn(3, _KNOWN, M.ambient_dim, generator=generator, dtype=torch.float64)
        width = M.scale * torch.tensor([0.25, 1.0, 4.0], dtype=torch.float64)
        x = arrived(M, (width[:, None, None] * g).flatten(0, 1))
    found = distinct(x).shape[0]
    if found < 20:
        raise InvalidPoints(
            f"expected at least 20 different points near {type(M).__name__}, got {found} "
            "inside its domain of validity; pass points=, for example the data"
        )
    return x


class BallAround:
    """The ball about `centre`; `margin` is what it leaves around the points it is made from."""

    def __init__(self, centre: Float[Tensor, " D"], radius: float, margin: float = 0.0) -> None:
        self.centre, self.radius, self.margin = centre, radius, margin

    @classmethod
    def of(cls, x: Float[Tensor, "n D"], margin: float = 0.0) -> BallAround:
        """A ball that contains x and a tenth more, and a tube of radius `margin`."""
        centre = (x.amax(0) + x.amin(0)) / 2
        return cls(centre, 1.1 * float((x - centre).norm(dim=-1).max()) + margin, margin)

    def refined(self, relative: float, generator: torch.Generator | None) -> tuple[float, float]:
        """The volume, in closed form, and its standard error."""
        return ball_volume(self.centre.numel(), self.radius), 0.0

    def draw(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        """N independent points, uniform in the ball."""
        return self.centre + self.radius * in_ball(n, self.centre.numel(), generator)

    def contains(self, x: Float[Tensor, "n D"]) -> Bool[Tensor, " n"]:
        """Whether |x - centre| <= radius."""
        return (x - self.centre).norm(dim=-1) <= self.radius

    def grown(self, M: Manifold, p: Float[Tensor, "n D"]) -> BallAround:
        """A larger ball, that contains the tube about the points p of M too."""
        r = float((p - self.centre).norm(dim=-1).max())
        return BallAround(self.centre, max(self.radius, 1.1 * r + self.margin), self.margin)


class Cylinders:
    r"""The union of :math:`\{|T_i^\top (x - c_i)| < a,\ |N_i^\top (x - c_i)| < b\}`.

    T_i, N_i are orthonormal bases of the tangent and the normal space of M at c_i. A point drawn
    in one cylinder is retained with probability one over the number that contain it: what is left
    is uniform on the union, whose volume the mean of that probability gives. Balls about the c_i
    waste far more in high codimension: of one of radius 2 tau in R^9 one part in 13 lies within
    tau of a 3-plane through its centre.

    Args:
        M: the manifold.
        c: points of M, shape (m, D).
        a: tangential radius.
        b: normal radius.
    """

    def __init__(self, M: Manifold, c: Float[Tensor, "m D"], a: float, b: float) -> None:
        _check_count(c, a)
        self.c, self.a, self.b = c, a, b
        with torch.no_grad():
            self.T, self.N = M.tangent_basis(c), M.normal_basis(c)
        self._mass = c.shape[0] * ball_volume(M.dim, a) * ball_volume(M.ambient_dim - M.dim, b)
        # proposals made, and the sums of 1 / count and of its square over them
        self._proposed, self._sums = 0, (0.0, 0.0)

    @classmethod
    def of(
        cls,
        M: Manifold,
        x: Float[Tensor, "n D"],
        tube: float,
        reach: float,
        generator: torch.Generator | None,
    ) -> Cylinders:
        r"""Cylinders around the tube of radius `tube` about the components of M that x meets.

        The projection of a point of the tube lies within h of some c_i. The tangent plane turns by
        at most h / reach on the way, and M leaves it by at most h^2 / (2 reach).
        """
        # how much higher than the tube they are: lower ones are more, and more of them overlap
        excess = 0.1 if M.dim in (1, 2) else 0.25
        h = (2 * excess * tube * reach) ** 0.5
        return cls(M, net(M, x, h, generator), h * (1 + tube / reach), (1 + excess) * tube)

    def refined(self, relative: float, generator: torch.Generator | None) -> tuple[float, float]:
        """The volume and its standard error, brought near `relative` times it by proposals."""
        while True:
            mean, error = mean_of(*self._sums, max(self._proposed, 1))
            if self._proposed > 0 and (error <= relative * mean or self._proposed >= 400_000):
                return self._mass * mean, self._mass * error
            self._propose(25_000, generator)

    def draw(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        """N independent points, uniform in the union."""

        def propose(missing: int) -> Tensor:
            per_point = self._proposed / self._sums[0] if self._proposed else 4.0
            return self._propose(min(int(1.2 * missing * per_point) + 64, 100_000), generator)

        return draw_until(n, propose, "the cylinders overlap too much")

    def _propose(self, n: int, generator: torch.Generator | None) -> Tensor:
        i = torch.randint(self.c.shape[0], (n,), generator=generator)
        s = self.a * in_ball(n, self.T.shape[-1], generator)
        v = self.b * in_ball(n, self.N.shape[-1], generator)
        x = self.c[i] + (self.T[i] @ s.unsqueeze(-1) + self.N[i] @ v.unsqueeze(-1)).squeeze(-1)
        share = 1 / self.count(x).clamp_min(1)  # rounding may leave x outside its own
        self._proposed += n
        total, squares = self._sums
        self._sums = (total + float(share.sum()), squares + float(share.square().sum()))
        return x[torch.rand(n, generator=generator, dtype=torch.float64) < share]

    def count(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        """How many cylinders contain x."""
        count = torch.zeros(x.shape[0], dtype=x.dtype)
        for rows in torch.arange(x.shape[0]).split(max(1, _ENTRIES // self.c.shape[0])):
            # |x - c|^2 - |x|^2, in one pass over the pairs
            relative = torch.addmm(self.c.square().sum(-1), x[rows], self.c.mT, alpha=-2)
            limit = self.a**2 + self.b**2 - x[rows].square().sum(-1, keepdim=True)
            i, j = (relative < limit * (1 + 1e-9)).nonzero(as_tuple=True)
            off = x[rows[i]] - self.c[j]
            s = (self.T[j].mT @ off.unsqueeze(-1)).squeeze(-1).square().sum(-1)
            inside = (s < self.a**2) & (off.square().sum(-1) - s < self.b**2)
            count.index_add_(0, rows[i], inside.to(x.dtype))
        return count

    def contains(self, x: Float[Tensor, "n D"]) -> Bool[Tensor, " n"]:
        """Whether some cylinder contains x."""
        return self.count(x) > 0

    def grown(self, M: Manifold, p: Float[Tensor, "n D"]) -> Cylinders:
        """More cylinders, about a spread-out part of p."""
        return Cylinders(M, torch.cat([self.c, _spread(p, self.a / 2)]), self.a, self.b)


# what a tube is drawn from
BoundedRegion = BallAround | Cylinders


def net(
    M: Manifold, x: Float[Tensor, "n D"], h: float, generator: torch.Generator | None = None
) -> Float[Tensor, "m D"]:
    """Points of M so dense that next to no point of the components that x meets is h from them.

    It grows by random tangent steps of length 1.2 h from every new point, and ends when at most a
    thousandth of the steps from random ones leaves what is covered.
    """
    c = frontier = _spread(x, h)
    for _ in range(100):
        every = torch.randint(c.shape[0], (_WALKERS,), generator=generator)
        last = frontier.shape[0] == 0
        # steps from each new point, by dimension: about the neighbours that it has in a net
        start = c[every] if last else frontier.repeat({1: 3, 2: 8}.get(M.dim, 16), 1)
        y = torch.cat([_walk(M, part, h, generator) for part in start.split(_WALKERS)])
        out = y[nearest_distance(y, c) > h]
        if last and out.shape[0] <= 1e-3 * _WALKERS:
            return c
        frontier = _spread(out, h) if out.shape[0] else out
        c = torch.cat([c, frontier])
        _check_count(c, h)
    raise UnsupportedError(
        f"expected 100 rounds of tangent steps to cover {type(M).__name__} by balls of "
        f"radius {h:.1e}, but new parts keep turning up; it is unbounded, or of too high a "
        "dimension: restrict it, or use method='rays' or region='ball'"
    )


def _walk(M: Manifold, x: Tensor, h: float, generator: torch.Generator | None) -> Tensor:
    """Where tangent steps of length 1.2 h from x land on M; those that go astray are left out."""
    with torch.no_grad():
        T = M.tangent_basis(x)
        s = torch.randn(x.shape[0], M.dim, 1, generator=generator, dtype=torch.float64)
        p = M.project(x + 1.2 * h * (T @ (s / s.norm(dim=-2, keepdim=True))).squeeze(-1))
        near = p.converged & M.in_domain(p.value) & ((p.value - x).norm(dim=-1) < 1.5 * h)
    return p.value[near]


def nearest_distance(x: Float[Tensor, "n D"], c: Float[Tensor, "m D"]) -> Float[Tensor, " n"]:
    """The distance from each x to the nearest of the points c."""
    index = nearest(c.numpy(), x.numpy(), 1)[1][:, 0]
    return (x - c[torch.from_numpy(index)]).norm(dim=-1)


def _check_count(c: Tensor, h: float) -> None:
    if c.shape[0] > 20_000:
        raise UnsupportedError(
            f"expected at most 20000 balls of radius {h:.1e} to cover M, but it "
            "takes more; it is large, or its reach is small: use method='atlas', or a chain"
        )


def _spread(x: Float[Tensor, "n D"], h: float) -> Float[Tensor, "m D"]:
    """Points of x at mutual distances above h, so many that every x is within h of one."""
    count = 64
    while True:
        index, radius = farthest_points(x.numpy(), min(count, x.shape[0]), 0)
        if radius[-1] <= h or count >= x.shape[0]:
            return x[torch.from_numpy(index[: 1 + int((radius > h).sum())])]
        count *= 4
