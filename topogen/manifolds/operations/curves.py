"""Closed curves from points on them: how many, and how long."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...point_cloud.knn import component_labels
from ..base import Manifold
from ..locate import distinct

# neighbours see each other, and the other's tangent, under less than this angle
_COSINE = math.cos(0.3)


@dataclass(frozen=True)
class Curves:
    """The closed curves of a manifold of dimension 1, or the points of one of dimension 0.

    Attributes:
        count: how many.
        length: of all together; the count of points.
        error: of the length, from twice the step.
    """

    count: int
    length: float
    error: float


def trace(
    M: Manifold, points: Float[Tensor, "n D"], *, max_rounds: int = 60, max_points: int = 5000
) -> Curves | None:
    """The closed curves of a manifold M of dimension 1 through the given points of it.

    Each is joined to the nearest one ahead and behind, as the tangent goes, or steps along the
    tangent look for it. None where a curve has an end, or needs more than `max_points` points.
    """
    x = distinct(points, 0.05 * M.scale)
    t = M.tangent_basis(x)[..., 0]
    longest, same = 0.25 * M.scale, 1e-6 * M.scale
    h = torch.full_like(x[:, 0], longest)
    for _ in range(max_rounds):
        if x.shape[0] > max_points:
            return None
        ahead = _neighbours(x, t, longest)
        i, side = (ahead < 0).nonzero(as_tuple=True)
        if i.numel():
            sign = (1 - 2 * side).to(x.dtype).unsqueeze(-1)
            p = M.project(x[i] + sign * h[i].unsqueeze(-1) * t[i])
            u = M.tangent_basis(p.value)[..., 0]
            found = p.converged & _agree(x[i], t[i], p.value, u)
            grown = (1.5 * h[i[found]]).clamp_max(longest)
            h[i[~found]] /= 2
            x, t, h = _added(x, t, h, p.value[found], u[found], grown, same)
            continue
        curves, u = _closed(M, x, t, ahead)
        if curves is not None:
            return curves
        longest /= 2
        x, t, h = _added(x, t, h, *u, same)
    return None


def _agree(x: Tensor, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
    """Whether a short arc can lead from x with tangent t to y with tangent u, up to signs."""
    way = y - x
    along = torch.minimum((way * t).sum(-1).abs(), (way * u).sum(-1).abs())
    return ((t * u).sum(-1).abs() > _COSINE) & (along > _COSINE * way.norm(dim=-1))


def _neighbours(x: Tensor, t: Tensor, longest: float) -> Int[Tensor, "n 2"]:
    """The nearest point ahead of each, and behind, within reach; -1 where there is none."""
    way = x.unsqueeze(0) - x.unsqueeze(1)  # from row to column
    size = way.norm(dim=-1)
    fit = _agree(x.unsqueeze(1), t.unsqueeze(1), x.unsqueeze(0), t.unsqueeze(0))
    fit &= (size > 0) & (size <= longest)
    along = (way * t.unsqueeze(1)).sum(-1)
    columns = []
    for side in (along > 0, along < 0):
        least, k = torch.where(fit & side, size, math.inf).min(-1)
        columns.append(torch.where(least.isfinite(), k, -1))
    return torch.stack(columns, -1)


def _added(
    x: Tensor, t: Tensor, h: Tensor, y: Tensor, u: Tensor, g: Tensor, atol: float
) -> tuple[Tensor, Tensor, Tensor]:
    """More points y with tangents u and steps g, without those that are there already."""
    x, t, h = torch.cat([x, y]), torch.cat([t, u]), torch.cat([h, g])
    same = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") <= atol
    new = ~same.tril(-1).any(-1)
    return x[new], t[new], h[new]


def _closed(
    M: Manifold, x: Tensor, t: Tensor, ahead: Tensor
) -> tuple[Curves | None, tuple[Tensor, Tensor, Tensor]]:
    """The curves, where arcs join each point to two that know it; else None, and arcs' middles."""
    i, j = torch.arange(len(x), device=x.device).repeat_interleave(2), ahead.reshape(-1)
    mutual = (ahead[j] == i.unsqueeze(-1)).any(-1)
    middle, chord = (x[i] + x[j]) / 2, (x[i] - x[j]).norm(dim=-1)
    p = M.project(middle)
    u = M.tangent_basis(p.value)[..., 0]
    arc = (p.value - middle).norm(dim=-1) < 0.3 * chord
    arc &= p.converged & _agree(x[i], t[i], p.value, u) & _agree(x[j], t[j], p.value, u)
    if not bool((mutual & arc).all()):
        return None, (p.value[arc], u[arc], chord[arc] / 2)
    # each arc has been met from both ends
    fine = float(_length(x[i], t[i], p.value, u).sum())
    coarse = float(_length(x[i], t[i], x[j], t[j]).sum()) / 2
    count = 1 + int(component_labels(len(x), i.cpu().numpy(), j.cpu().numpy()).max())
    return Curves(count, fine, abs(fine - coarse) / 15 + 1e-12 * fine), (x[:0], t[:0], chord[:0])


def _length(x: Tensor, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
    """Chords c and turns a of the tangent: exact for circles, c (a/2) / sin(a/2)."""
    chord = (y - x).norm(dim=-1)
    sign = (t * u).sum(-1, keepdim=True).sign()
    half = ((t - sign * u).norm(dim=-1) / 2).clamp_max(1.0).asin()
    return chord * torch.where(half > 1e-9, half / half.sin(), 1.0)
