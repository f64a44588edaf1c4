"""Projections, tangents and tubes: what the points say of M before any network is fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ... import calculus
from ...errors import InvalidPoints
from ...point_cloud.knn import nearest, neighbours
from ...point_cloud.landmarks import greedy_cover
from ...point_cloud.span import affine_span
from ..local_polynomials import LocalPolynomials

TUBE = 0.6  # the tube reaches this share of the way to the medial axis
_NEIGHBOURS = {1: 12, 2: 24}  # by dimension; 40 above
# projections of data, and between them; fewer in more than 8 coordinates, where each costs more
_MANY, _FEET = 8, {1: (8000, 2000), 2: (8000, 4000)}
_ROWS = 2048  # handled at a time
_NOISELESS = 2e-3  # rms distance to their local fits up to which data are projections themselves


@dataclass(frozen=True)
class Frame:
    r"""A similarity: x = centre + unit V z on M, V with orthonormal columns."""

    centre: Float[Tensor, " D"]
    unit: float
    V: Float[Tensor, "D m"]

    def inner(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """The coordinates z."""
        return (x - self.centre) @ self.V / self.unit


def principal_frame(x: Float[Tensor, "n D"], dim: int) -> Frame:
    """Centre, rms radius, and those principal axes that vary.

    The last axes, of rms below 3e-4 of the rms radius together, are constants and become exact
    linear equations; at least `dim` + 1 axes vary.
    """
    centre = x.mean(0)
    unit = float((x - centre).square().sum(-1).mean().sqrt())
    D = x.shape[-1]
    span = affine_span(x.numpy(), dim + 1)
    inside = torch.eye(D, dtype=x.dtype) if span is None else torch.from_numpy(span.V)
    z = x - centre if span is None else (x - centre) @ inside
    values, axes = torch.linalg.eigh(z.mT @ z / (unit**2 * x.shape[0]))
    values, axes = values.flip(-1).clamp_min(0), axes.flip(-1)
    dropped = values.flip(-1).cumsum(-1).flip(-1).sqrt()  # rms of axes j, j + 1, ...
    m = max(int((dropped > 3e-4).sum()), dim + 1)
    if m == D:  # nothing to drop: the axes of the points themselves
        axes = torch.eye(D, dtype=x.dtype)
    return Frame(centre, unit, (inside @ axes[:, :m]).contiguous())


@dataclass(frozen=True)
class TubularNeighborhood:
    """Points of M near the data, in inner coordinates, with what a tube around them needs."""

    p: Float[Tensor, "n m"]  # projections on M
    T: Float[Tensor, "n m d"]  # tangent bases
    N: Float[Tensor, "n m k"]  # normal bases
    tau: Float[Tensor, " n"]  # radii of the tube, a share of the reach near p
    h: Float[Tensor, " n"]  # how far apart the data lie near p
    data: int  # so many rows, the first ones, are projections of data; the others fill the gaps
    noise: float  # rms distance of the data to their projections, but for the farthest twentieth

    @property
    def spacing(self) -> Float[Tensor, " n"]:
        """How far apart the projections lie near p: less than the data, whose gaps they fill."""
        return (self.p - self.p[_nearest(self.p, self.T.shape[-1])[:, -1]]).norm(dim=-1)

    @property
    def noiseless(self) -> bool:
        """Whether the data are so close to their local fits that they stand for projections."""
        return self.noise < _NOISELESS

    def extrapolation(self) -> float:
        r"""How far M may be off in gaps of the data: :math:`\max_p r (h/r)^4 / 64`, r the reach.

        Cubic terms are seen by data h apart, so the next ones are what is left; 99.9 %.
        """
        reach = self.tau / TUBE
        return float((reach * (self.h / reach) ** 4).quantile(0.999)) / 64


def local_geometry(
    local: LocalPolynomials, z: Float[Tensor, "n m"], generator: torch.Generator
) -> TubularNeighborhood:
    """Projections of the data and of points between them on a manifold that was fitted to them.

    Points between are drawn next to data in proportion to the free space there: uneven data get
    even projections.

    Raises:
        InvalidPoints: hardly a point has a projection.
    """
    n, m = z.shape
    d = local.dim
    K = min(_NEIGHBOURS.get(d, 40), n - 1)
    h = torch.from_numpy(neighbours(z.numpy(), K, exact=True)[0][:, -1])
    most, between = _FEET.get(d, (3500, 1500)) if m <= _MANY else (3500, 1500)
    rows = torch.randperm(n, generator=generator)[:most]
    z, h = z[rows], h[rows]
    base = local.project(z)
    good = base.converged & local.in_domain(base.value)
    # in gaps of the data local fits are off, whatever the noise
    offset = (base.value - z)[good].norm(dim=-1).sort().values
    noise = float(offset[: math.ceil(0.95 * len(offset))].square().mean().sqrt())
    p, h = base.value[good], h[good]
    if p.shape[0] < 10:
        raise InvalidPoints(
            f"expected points near a manifold of dimension {d}, got {p.shape[0]} of {z.shape[0]} "
            "that their neighbours agree with (a grid of integers, repeated points, or noise); "
            "give more different points, or another dimension"
        )
    T = local.tangent_basis(p)
    # such data say better than any fit where M is
    on = z[good] if noise < _NOISELESS else p
    free = h.pow(d)
    free = free.clamp_max(8 * float(free.median()))
    i = torch.multinomial(free, between, replacement=True, generator=generator)
    s = torch.randn(between, d, 1, generator=generator, dtype=z.dtype)
    s = 0.6 * s * (h[i] / math.sqrt(d))[:, None, None]
    filled = local.project(p[i] + (T[i] @ s).squeeze(-1))
    valid = filled.converged & local.in_domain(filled.value)
    more = filled.value[valid]
    p, h = torch.cat([on, more]), torch.cat([h, h[i][valid]])
    T = torch.cat([T, local.tangent_basis(more)])
    N, tau = calculus.complement(T), torch.full_like(h, math.nan)
    return cleared(TubularNeighborhood(p, T, N, tau, h, on.shape[0], noise), generator)[0]


def cleared(
    geometry: TubularNeighborhood, generator: torch.Generator
) -> tuple[TubularNeighborhood, Bool[Tensor, " n"]]:
    """Without the projections that their neighbours contradict, with tubes; and which are left."""
    g, d = geometry, geometry.T.shape[-1]
    near = _nearest(g.p, d)
    left = _agreeing(g, near)
    left[: g.data] |= g.noiseless
    p, T, N, h = (t[left] for t in (g.p, g.T, g.N, g.h))
    reach = _local_reach(p, T, h, generator)
    near = near if bool(left.all()) else _nearest(p, d)
    # the least reach over neighbours: the tube must not touch itself next door either
    tau = TUBE * reach[near].amin(-1).clamp_max(1.0)
    return TubularNeighborhood(p, T, N, tau, h, int(left[: g.data].sum()), g.noise), left


def _nearest(p: Float[Tensor, "n m"], dim: int) -> Int[Tensor, "n K"]:
    """Each row, and its nearest ones: more of them in higher dimension."""
    K = min(_NEIGHBOURS.get(dim, 40) + 1, p.shape[0])
    return torch.from_numpy(nearest(p.numpy(), p.numpy(), K, exact=True)[1])


def _agreeing(geometry: TubularNeighborhood, near: Int[Tensor, "n K"]) -> Bool[Tensor, " n"]:
    r"""Whether :math:`\mathrm{median}_j |N_j^\top (p - p_j)| \le 0.3 h` over neighbours of p."""
    p, N = geometry.p, geometry.N
    offset = []
    for x, j in zip(p.split(_ROWS), near.split(_ROWS), strict=True):
        chord = x.unsqueeze(1) - p[j[:, 1:]]
        normal = (N[j[:, 1:]].mT @ chord.unsqueeze(-1)).squeeze(-1)
        offset.append(normal.norm(dim=-1).median(-1).values)
    return torch.cat(offset) <= 0.3 * geometry.h


def _local_reach(p: Tensor, T: Tensor, h: Tensor, generator: torch.Generator) -> Tensor:
    r"""min_j |p_j - p_i|^2 / (2 |P_N (p_j - p_i)|) over 1500 random j farther than 2 h_i.

    Federer, 1959, "Curvature measures" (https://doi.org/10.2307/1993504), Theorem 4.18.
    """
    q, reach = p[torch.randperm(len(p), generator=generator)[:1500]], []
    for x, Q, near in zip(p.split(_ROWS), T.split(_ROWS), h.split(_ROWS), strict=True):
        square = x.square().sum(-1, keepdim=True) - 2 * x @ q.mT + q.square().sum(-1)
        normal = square.clone()
        for t in Q.unbind(-1):
            normal -= (t @ q.mT - (t * x).sum(-1, keepdim=True)).square()
        ratio = square / (2 * normal.clamp_min(0).sqrt()).clamp_min(1e-12)
        ratio = torch.where(square > 4 * near.square().unsqueeze(-1), ratio, torch.inf)
        reach.append(ratio.amin(-1))
    return torch.cat(reach)


def box(geometry: TubularNeighborhood, n: int, generator: torch.Generator) -> Tensor:
    """Uniform points of the bounding box and 15 % more."""
    low, high = geometry.p.amin(0), geometry.p.amax(0)
    margin = 0.15 * (high - low)
    u = torch.rand(n, low.shape[0], generator=generator, dtype=low.dtype)
    return low - margin + (high - low + 2 * margin) * u


def nearest_projections(
    geometry: TubularNeighborhood, x: Tensor
) -> tuple[Int[Tensor, " n"], Tensor, Tensor]:
    """The nearest projection, the point below x in its tangent plane, and its distance."""
    distance, found = nearest(geometry.p.numpy(), x.numpy(), 1, exact=True)
    j = torch.from_numpy(found[:, 0])
    projection = tangent_point(x, geometry.p[j], geometry.T[j], geometry.h[j])
    return j, projection, torch.from_numpy(distance[:, 0])


def tangent_point(
    x: Float[Tensor, "n m"], p: Float[Tensor, "n m"], T: Float[Tensor, "n m d"], most: Tensor
) -> Float[Tensor, "n m"]:
    """The points below x in the planes of bases T through p, no farther from p than `most`."""
    s = (T.mT @ (x - p).unsqueeze(-1)).squeeze(-1)
    s = s * (most / s.norm(dim=-1).clamp_min(1e-300)).clamp_max(1).unsqueeze(-1)
    return p + (T @ s.unsqueeze(-1)).squeeze(-1)


def cover(
    p: Float[Tensor, "n m"], radius: Float[Tensor, " n"], generator: torch.Generator
) -> Int[Tensor, " l"]:
    """A greedy choice of rows such that every row lies within the radius of a chosen one."""
    from scipy.spatial import KDTree

    tree, n = KDTree(p.numpy()), p.shape[0]
    order = torch.randperm(n, generator=generator).numpy()

    def ball(i: int) -> list[int]:
        return tree.query_ball_point(p[i].numpy(), float(radius[i]))

    return torch.from_numpy(greedy_cover(n, order, ball))
