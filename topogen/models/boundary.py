r"""The boundary of data: where a learned manifold ends, its data being on one side only."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..point_cloud.tails import tail_index
from .base import Fittable

_ROWS = 2048  # handled at a time: their distances to all data are in memory


class Boundary(Fittable):
    r"""The places near which M ends, and which points lie outside of them.

    On the boundary the K nearest data are on one side. For tangent chords :math:`t_i` from them
    to z,

    .. math:: \rho(z) = \big|\textstyle\sum_i t_i\big| / \textstyle\sum_i |t_i|

    is :math:`E|u_1|`, u uniform on the unit sphere of R^d, for z on the boundary of a half space
    that is filled evenly, less inside and more outside. Only points within `radius` of a place
    where M leaves its domain are tested: a gap in the data that M bridges is no boundary. Points
    closer to a datum than a quarter of the mean chord are never outside. Where the data thin out
    towards the place there is no edge, and fresh points of the same distribution will lie beyond
    the last of them: M goes on there to the end of its domain.

    Attributes:
        at: points of M where it leaves its domain, or went on since data thin out, shape (e, m).
        T: tangent bases there, shape (e, m, d).
        radius: how far from them points are tested, shape (e,).
        data: the data near them.
        thin: whether the data thin out towards them, shape (e,).
    """

    at: Tensor
    T: Tensor
    radius: Tensor
    data: Tensor
    thin: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reserve("at", "T", "radius", "data")
        self.register_buffer("thin", torch.empty(0, dtype=torch.bool))

    def __len__(self) -> int:
        """How many places there are."""
        return len(self.at)

    def place(
        self,
        at: Float[Tensor, "e m"],
        T: Float[Tensor, "e m d"],
        radius: Float[Tensor, " e"],
        data: Float[Tensor, "n m"],
    ) -> None:
        """Set the places; a ball of twice the radius contains what lies outside near each."""
        self.at, self.T, self.radius = at, T, 2 * radius
        self.thin = thinning(at, self.radius, data, T.shape[-1])
        # the nearest data of a point inside lie within 1.5 times the distance of those of a point
        # of the boundary
        reach = self.radius + 1.5 * _nearest(at, data, T.shape[-1])[1][:, -1]
        near = [(torch.cdist(p, at) < reach).any(-1) for p in data.split(_ROWS)]
        self.data = data[torch.cat(near)]
        self.fitted = True

    def outside(self, z: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
        """Whether z lies outside the boundary."""
        out = z.new_zeros(z.shape[0], dtype=torch.bool)
        if not len(self.at) or not len(self.data):
            return out
        distance, e = torch.cdist(z, self.at).min(-1)
        tested = (distance < self.radius[e]) & ~self.thin[e]
        T = self.T[e[tested]]
        ratio, nearest = one_sidedness(z[tested], T, self.data)
        out[tested] = (ratio > boundary_ratio(T.shape[-1])) & (nearest > 0.25)
        return out


def boundary_points(
    start: Float[Tensor, "n m"],
    landmark: Int[Tensor, " n"],
    reach: Float[Tensor, " l"],
    *,
    near_end: Callable[[Tensor], Tensor],
    project: Callable[[Tensor], tuple[Tensor, Tensor]],
    outside: Callable[[Tensor], Tensor],
) -> tuple[Float[Tensor, "e m"], Int[Tensor, " e"]]:
    """Points of M just outside its domain, and the landmarks that they belong to.

    Args:
        start: points around the landmarks, from which they are looked for.
        landmark: the landmark of each.
        reach: how far from its start such a point may be, one for each landmark.
        near_end: whether points are near the end of the domain.
        project: the points of M that points lead to, and whether these were found.
        outside: whether points of M are outside the domain.
    """
    end = near_end(start)
    start, landmark = start[end], landmark[end]
    at, found = project(start)
    found = found & ((at - start).norm(dim=-1) < reach[landmark]) & outside(at)
    return at[found], landmark[found]


def in_holes(
    z: Float[Tensor, "n m"], T: Float[Tensor, "n m d"], data: Float[Tensor, "p m"]
) -> Bool[Tensor, " n"]:
    """Whether there are data on both sides of z: the ratio is well below that of a boundary."""
    return one_sidedness(z, T, data)[0] < 0.8 * boundary_ratio(T.shape[-1])


def thinning(
    at: Float[Tensor, "e m"], radius: Float[Tensor, " e"], data: Float[Tensor, "n m"], dim: int
) -> Bool[Tensor, " e"]:
    """Whether the density of the data falls to 0 towards places on their boundary.

    The :func:`~topogen.point_cloud.tails.tail_index`, averaged over the places within a radius, is
    compared with 0.35: it is 0 at edges and 1/2 where the density of a surface falls linearly.
    """
    if not len(at):
        return at.new_zeros(0, dtype=torch.bool)
    a = torch.from_numpy(tail_index(at.numpy(), data.numpy(), dim))
    near_by = (torch.cdist(at, at) < radius.unsqueeze(-1)).to(a)
    return near_by @ a / near_by.sum(-1) > 0.35


def directions(
    count: int, d: int, generator: torch.Generator, dtype: torch.dtype
) -> Float[Tensor, "count d directions"]:
    """Unit vectors of R^d in opposite pairs, for each of `count` places."""
    n = {1: 2, 2: 8}.get(d, 16)
    u = torch.randn(count, d, n // 2, generator=generator, dtype=dtype)
    u = torch.nn.functional.normalize(u, dim=-2)
    return torch.cat([u, -u], -1)


def one_sidedness(
    z: Float[Tensor, "n m"], T: Float[Tensor, "n m d"], data: Float[Tensor, "p m"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    r"""The ratio :math:`\rho(z)`, and the least :math:`|t_i|` over their mean."""
    if not len(z):
        return z.new_zeros(0), z.new_zeros(0)
    near = _nearest(z, data, T.shape[-1])[0]
    t = (z.unsqueeze(1) - data[near]) @ T
    length = t.norm(dim=-1)
    total = length.sum(1).clamp_min(1e-300)
    return t.sum(1).norm(dim=-1) / total, near.shape[1] * length.amin(1) / total


def boundary_ratio(d: int) -> float:
    r""":math:`E|u_1| = \Gamma(d/2) / (\sqrt\pi\, \Gamma((d + 1)/2))`; a hair less on curves."""
    if d == 1:
        return 0.999
    return math.gamma(d / 2) / (math.sqrt(math.pi) * math.gamma((d + 1) / 2))


def _nearest(z: Tensor, data: Tensor, d: int) -> tuple[Tensor, Tensor]:
    """Rows of the K nearest data of each z, and their distances, ascending."""
    K = min({1: 6, 2: 24}.get(d, 40), len(data))
    found = [torch.cdist(part, data).topk(K, largest=False) for part in z.split(_ROWS)]
    return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])
