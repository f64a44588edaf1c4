r"""Where a learned zero set leaves its data: holes to be closed, edges at which it ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..base import Learned
from .checks import zeros
from .geometry import Geometry

if TYPE_CHECKING:
    from .neural import NeuralImplicit

# tangent directions tried from every landmark, and how far they go, in radii of its ball
_DIRECTIONS = {1: 2, 2: 8}
_BEYOND = 1.1
# a ball around a place where M leaves holds what lies beyond an edge there, in radii of the ball
_NEAR = 2.0
_NEIGHBOURS = {1: 6, 2: 24}
_BESIDE = 0.25
_OUTSKIRTS = 0.8
# holes have data on both sides; so many times those found are closed
_HOLE, _CLOSINGS = 0.8, 3
_ROWS = 2048


class Edges(Learned):
    r"""The places near which M ends, and which points lie beyond them.

    At an edge the K nearest data are on one side. For tangent chords :math:`t_i` from them to z,

    .. math:: \big|\textstyle\sum_i t_i\big| / \textstyle\sum_i |t_i|

    is :math:`E|u_1|`, u uniform on the unit sphere of R^d, for z on the edge of a half space that
    is filled evenly, less inside and more beyond. Only points near a place where M leaves the
    guarded region are asked: a gap in the data that M bridges is no edge. Points beside a datum,
    closer than a quarter of the mean chord, are never beyond.

    Attributes:
        at: points of M outside the region, next to it, shape (e, m).
        T: tangent bases there.
        radius: how far from them is asked.
        feet: the data near them.
    """

    at: Tensor
    T: Tensor
    radius: Tensor
    feet: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("at", "T", "radius", "feet"):
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))

    def place(self, M: NeuralImplicit, geometry: Geometry, generator: torch.Generator) -> None:
        """Find where M leaves its region, close the holes among these, keep the edges."""
        region, p = M.region, geometry.p[: geometry.data]
        at, T, j = leaving(M, generator)
        for _ in range(_CLOSINGS):
            hole = _one_sided(at, T, p)[0] < _HOLE * _on_edge(M.dim)
            if not bool(hole.any()):
                break
            region.extend(at[hole], T[hole], j[hole])
            at, T, j = leaving(M, generator)
        self.at, self.T, self.radius = at, T, _NEAR * region.rho[j]
        near = torch.cdist(p, at) < 2 * self.radius if len(at) else p.new_zeros(len(p), 1) > 0
        self.feet = p[near.any(-1)]
        self.fitted = True

    def beyond(self, z: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
        """Whether z lies beyond an edge."""
        out = z.new_zeros(z.shape[0], dtype=torch.bool)
        if not len(self.at) or not len(self.feet):
            return out
        distance, e = torch.cdist(z, self.at).min(-1)
        asked = distance < self.radius[e]
        T = self.T[e[asked]]
        ratio, nearest = _one_sided(z[asked], T, self.feet)
        out[asked] = (ratio > _on_edge(T.shape[-1])) & (nearest > _BESIDE)
        return out


def leaving(M: NeuralImplicit, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Points of M next to its region but outside, tangent bases there, and the landmarks left."""
    region, d = M.region, M.dim
    n = _DIRECTIONS.get(d, 16)
    u = torch.randn(region.c.shape[0], d, n // 2, generator=generator, dtype=region.c.dtype)
    u = torch.cat([u, -u], -1) / u.norm(dim=-2, keepdim=True).repeat(1, 1, 2)
    step = (region.T @ u).mT * (_BEYOND * region.rho[:, None, None])
    start = (region.c[:, None] + step).flatten(0, 1)
    j = torch.arange(region.c.shape[0]).repeat_interleave(u.shape[-1])

    def depth(z: Tensor) -> Tensor:
        return torch.cat([region.near(part).depth for part in z.split(_ROWS)])

    # most lie in the balls of other landmarks
    outskirts = depth(start) > _OUTSKIRTS
    start, j = start[outskirts], j[outskirts]
    z, found = zeros(M, start)
    found &= (z - start).norm(dim=-1) < 0.5 * region.rho[j]
    found &= depth(z) >= 1
    J = M.net.linearize(z[found])[1]
    T = torch.linalg.svd(J, full_matrices=True)[2][..., M._k :, :].mT
    return z[found], T, j[found]


def _one_sided(z: Tensor, T: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`|\sum_i t_i| / \sum_i |t_i|`, and the least :math:`|t_i|` over their mean."""
    if not len(z):
        return z.new_zeros(0), z.new_zeros(0)
    K = min(_NEIGHBOURS.get(T.shape[-1], 40), len(p))
    near = [torch.cdist(part, p).topk(K, largest=False).indices for part in z.split(_ROWS)]
    t = (z.unsqueeze(1) - p[torch.cat(near)]) @ T
    length = t.norm(dim=-1)
    total = length.sum(1).clamp_min(1e-300)
    return t.sum(1).norm(dim=-1) / total, K * length.amin(1) / total


def _on_edge(d: int) -> float:
    r""":math:`E|u_1| = \Gamma(d/2) / (\sqrt\pi\, \Gamma((d + 1)/2))`; a hair less on curves."""
    if d == 1:
        return 0.999
    return math.gamma(d / 2) / (math.sqrt(math.pi) * math.gamma((d + 1) / 2))
