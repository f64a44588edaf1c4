r"""Edges of data: where a learned manifold ends, told by data that lie on one side only."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .base import Fittable

# a ball around a place where M leaves holds what lies beyond an edge there, in its radii
_NEAR = 2.0
_NEIGHBOURS = {1: 6, 2: 24}
_NEIGHBOURS_ABOVE = 40
_BESIDE = 0.25
# the nearest data of an inner point lie within so many times the distance of those of an edge
_WIDER = 1.5
# holes have data on both sides
_HOLE = 0.8
_ROWS = 2048
_DIRECTIONS = {1: 2, 2: 8}
_DIRECTIONS_ABOVE = 16


class Boundary(Fittable):
    r"""The places near which M ends, and which points lie beyond them.

    At an edge the K nearest data are on one side. For tangent chords :math:`t_i` from them to z,

    .. math:: \big|\textstyle\sum_i t_i\big| / \textstyle\sum_i |t_i|

    is :math:`E|u_1|`, u uniform on the unit sphere of R^d, for z on the edge of a half space that
    is filled evenly, less inside and more beyond. Only points near a place where M leaves the
    domain of validity are asked: a gap in the data that M bridges is no edge. Points beside a
    datum, closer than a quarter of the mean chord, are never beyond.

    Attributes:
        at: points of M where it leaves its region, shape (e, m).
        T: tangent bases there.
        radius: how far from them is asked.
        projections: the data near them.
    """

    at: Tensor
    T: Tensor
    radius: Tensor
    projections: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("at", "T", "radius", "projections"):
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))

    def __len__(self) -> int:
        """How many places there are."""
        return len(self.at)

    def keep(
        self,
        at: Float[Tensor, "e m"],
        T: Float[Tensor, "e m d"],
        radius: Float[Tensor, " e"],
        data: Float[Tensor, "n m"],
    ) -> None:
        """Keep the places, with balls of this size."""
        self.at, self.T, self.radius = at, T, _NEAR * radius
        # enough for the neighbours of all points that are asked
        reach = self.radius + _WIDER * _nearest(at, data, T.shape[-1])[1][:, -1]
        near = [(torch.cdist(p, at) < reach).any(-1) for p in data.split(_ROWS)]
        self.projections = data[torch.cat(near)]
        self.fitted = True

    def beyond(self, z: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
        """Whether z lies beyond an edge."""
        out = z.new_zeros(z.shape[0], dtype=torch.bool)
        if not len(self.at) or not len(self.projections):
            return out
        distance, e = torch.cdist(z, self.at).min(-1)
        asked = distance < self.radius[e]
        T = self.T[e[asked]]
        ratio, nearest = _one_sided(z[asked], T, self.projections)
        out[asked] = (ratio > _on_edge(T.shape[-1])) & (nearest > _BESIDE)
        return out


def in_holes(
    z: Float[Tensor, "n m"], T: Float[Tensor, "n m d"], data: Float[Tensor, "p m"]
) -> Bool[Tensor, " n"]:
    """Whether there are data on both sides of z."""
    return _one_sided(z, T, data)[0] < _HOLE * _on_edge(T.shape[-1])


def directions(
    count: int, d: int, generator: torch.Generator, dtype: torch.dtype
) -> Float[Tensor, "count d directions"]:
    """Unit vectors of R^d in opposite pairs, for each of `count` places."""
    n = _DIRECTIONS.get(d, _DIRECTIONS_ABOVE)
    u = torch.randn(count, d, n // 2, generator=generator, dtype=dtype)
    u = u / u.norm(dim=-2, keepdim=True)
    return torch.cat([u, -u], -1)


def _one_sided(z: Tensor, T: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`|\sum_i t_i| / \sum_i |t_i|`, and the least :math:`|t_i|` over their mean."""
    if not len(z):
        return z.new_zeros(0), z.new_zeros(0)
    near, _ = _nearest(z, p, T.shape[-1])
    t = (z.unsqueeze(1) - p[near]) @ T
    length = t.norm(dim=-1)
    total = length.sum(1).clamp_min(1e-300)
    return t.sum(1).norm(dim=-1) / total, near.shape[1] * length.amin(1) / total


def _nearest(z: Tensor, p: Tensor, d: int) -> tuple[Tensor, Tensor]:
    """Rows of the K nearest data of each z, and their distances, ascending."""
    K = min(_NEIGHBOURS.get(d, _NEIGHBOURS_ABOVE), len(p))
    found = [torch.cdist(part, p).topk(K, largest=False) for part in z.split(_ROWS)]
    return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])


def _on_edge(d: int) -> float:
    r""":math:`E|u_1| = \Gamma(d/2) / (\sqrt\pi\, \Gamma((d + 1)/2))`; a hair less on curves."""
    if d == 1:
        return 0.999
    return math.gamma(d / 2) / (math.sqrt(math.pi) * math.gamma((d + 1) / 2))
